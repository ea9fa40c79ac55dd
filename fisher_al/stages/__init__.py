"""The three stages, files in and files out, each in the module of its script's name.

Imports from chain and what is below it.
"""

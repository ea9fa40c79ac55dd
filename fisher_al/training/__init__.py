"""Training and evaluation of a network, and the checkpoints that come of it.

Imports from data, files and the ground; not from method.
"""

"""Images: biased pools, the sets of a run (in memory, or files of a folder), and batches of them.

Imports from files and the ground.
"""

"""Files on disk: their names, atomic writes and verified reads, locks, and the log of a chain.

Imports from the ground only (errors, seeds, memory, distributed); knows no method and no network.
"""

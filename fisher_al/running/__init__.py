"""Many chains: as tasks, in turn, side by side or on a cluster; how far they are, and repair.

Imports from stages and what is below them.
"""

"""The method and the baselines: descriptors, pseudo-labels, similarity, acquisition; no files.

Imports from data and the ground.
"""

"""The method and the baselines: descriptors, pseudo-labels, similarity, acquisition; no files.

To read in this order: `base` (what a method is), `descriptors`, `pseudo_labels`, `fisher_kernel` (the paper's
method) and `baselines`; `registry` lists all. `pick` and `pick_images` are for one's own arrays and images.
Imports from data and the ground.
"""

"""What to label next in a folder of one's own: images and labels in, picks and a labeling page out.

Imports from method, training, data, files and the ground.
"""

"""What to label next in a folder of one's own: the page on which a person labels the picks of a round.

Imports from method, training, data, files and the ground.
"""

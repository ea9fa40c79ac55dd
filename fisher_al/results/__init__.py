"""What came out: curves, how they compare with one another and the paper, their cost, and figures.

Imports from chain and what is below it.
"""

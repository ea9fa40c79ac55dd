"""Readers of the raw data of the MNIST experiments."""

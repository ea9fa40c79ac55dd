"""Loaders of the ImageNet experiments."""

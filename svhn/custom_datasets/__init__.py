"""The loader of the SVHN experiments."""

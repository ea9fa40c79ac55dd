"""The network of the SVHN experiments."""

"""The SVHN experiments of the paper."""

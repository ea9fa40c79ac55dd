"""Networks of the ImageNet experiments."""

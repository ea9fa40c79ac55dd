"""The ImageNet experiments of the paper, and the same on any folder of images."""

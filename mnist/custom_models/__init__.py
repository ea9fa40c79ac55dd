"""Networks of the MNIST experiments."""

"""Active learning on MNIST, and on scikit-learn's digits, with a LeNet."""

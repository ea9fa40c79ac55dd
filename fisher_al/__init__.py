"""Active learning for biased datasets with the Fisher kernel (arXiv:2003.00393), shared by all datasets."""

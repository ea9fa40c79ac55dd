"""Variational adversarial active learning, the adversarial baseline (arXiv:1904.00370)."""

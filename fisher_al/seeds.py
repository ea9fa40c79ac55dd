"""Seeds derived from what a draw is for, so that none depends on the clock or on what ran before."""

import hashlib

import torch


def derive_seed(*purpose: int | float | str) -> int:
    """Return a 63-bit seed that is a function of the parts of `purpose` alone."""
    digest = hashlib.sha256("/".join(map(str, purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def derive_generator(*purpose: int | float | str) -> torch.Generator:
    """Return a generator on the CPU, seeded by `derive_seed(*purpose)`."""
    return torch.Generator().manual_seed(derive_seed(*purpose))

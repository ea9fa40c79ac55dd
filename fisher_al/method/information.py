"""How strongly features and Fisher scores depend on each other over the views of an image.

Every function takes Z (N, K, L), the features of K views of N images, and G (N, K, C, L), the scores of each
class, and returns (N, C): the larger, the more dependent. Second moments are uncentred sums over views, in
float64 and with 1e-8 on the diagonal, so that constant or dead channels, saturated softmaxes and fewer views
than channels all give finite values.
"""

from __future__ import annotations

import torch
from torch import Tensor

JITTER = 1e-8


def trace_correlation(Z: Tensor, G: Tensor) -> Tensor:
    """tr(C_zg): sum over views and channels of z . g."""
    return (Z.double().unsqueeze(2) * G.double()).sum((1, 3))


def gaussian_information(Z: Tensor, G: Tensor) -> Tensor:
    """I(z; g) of Gaussian variables, times two: logdet(ZZ') + logdet(GG') - logdet([Z; G][Z; G]')."""
    Z, G = Z.double().unsqueeze(1), G.double().transpose(1, 2)  # (N, 1, K, L), (N, C, K, L)
    joint = torch.cat([Z.expand_as(G), G], dim=3)
    return _logdet_moment(Z) + _logdet_moment(G) - _logdet_moment(joint)


def diagonal_information(Z: Tensor, G: Tensor) -> Tensor:
    """The same with every channel on its own: -sum_l log(1 - rho_l^2)."""
    Z, G = Z.double(), G.double()
    zz = Z.square().sum(1).unsqueeze(1)  # (N, 1, L)
    gg = G.square().sum(1)  # (N, C, L)
    zg = (Z.unsqueeze(2) * G).sum(1)
    # 1 - rho^2 is det / (zz gg); by Cauchy-Schwarz det is positive, which rounding must not undo.
    determinant = (zz * gg - zg.square()).clamp_min(0) + JITTER * (zz + gg) + JITTER**2
    return ((zz + JITTER).log() + (gg + JITTER).log() - determinant.log()).sum(2)


def _logdet_moment(X: Tensor) -> Tensor:
    """logdet(X'X + jitter) of X (..., K, L), through the smaller of X'X and XX' (Sylvester's identity)."""
    views, channels = X.shape[-2:]
    if channels > views:
        return _logdet(X @ X.mT) + (channels - views) * torch.log(X.new_tensor(JITTER))
    return _logdet(X.mT @ X)


def _logdet(moment: Tensor) -> Tensor:
    """logdet of positive semidefinite matrices with jitter on the diagonal."""
    moment = moment + JITTER * torch.eye(moment.shape[-1], dtype=moment.dtype, device=moment.device)
    factor, failed = torch.linalg.cholesky_ex(moment)
    logdet = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    if failed.any():  # rounding outweighs the jitter where the entries are huge
        bad = failed > 0
        logdet[bad] = torch.linalg.eigvalsh(moment[bad]).clamp_min(JITTER).log().sum(-1)
    return logdet

"""The methods: option tokens, the paper's notation and plot style, in one registry."""

from __future__ import annotations

from dataclasses import dataclass

from fisher_al.errors import UserError
from fisher_al.experiment import Experiment

RANDOM, UNCERTAIN, KERNEL_Z, KERNEL_ZG = "random", "topUncert", "topKandPcc", "topKandPccFprGrad"


@dataclass(frozen=True)
class MethodKind:
    """One row of the registry: a subtype token with its acquisition token, notation and plot style."""

    token: str  # as given to --methods
    sub: str  # subtype token in options and file names
    aug: str  # acquisition token in options and file names
    notation: str  # the paper's, as matplotlib math text
    color: str  # Okabe-Ito palette: distinct for colour-blind readers
    marker: str
    description: str

    @property
    def has_scales(self) -> bool:
        """Whether descriptors, and so a length L, belong to the method."""
        return self.aug in (KERNEL_Z, KERNEL_ZG)


METHOD_KINDS = {
    kind.token: kind
    for kind in (
        MethodKind("random", "none", RANDOM, "random", "#000000", "o", "uniformly random picks"),
        MethodKind(
            "varMC", "varMC", UNCERTAIN, "varR", "#E69F00", "s", "variation ratio of MC-dropout votes"
        ),
        MethodKind("none", "none", KERNEL_Z, r"$R_z$", "#56B4E9", "^", "feature similarity alone"),
        MethodKind("gradAbl", "gradAbl", KERNEL_ZG, r"$S=y$", "#009E73", "D", "Fisher kernel, true labels"),
        MethodKind(
            "grad", "grad", KERNEL_ZG, r"$S=\hat{y}$", "#CC79A7", "v", "Fisher kernel, predicted labels"
        ),
        MethodKind(
            "gradFmap",
            "gradFmap",
            KERNEL_ZG,
            r"ours, $S=\hat{p}(y,z)$",
            "#D55E00",
            "P",
            "Fisher kernel, label of the nearest validation image",
        ),
    )
}


@dataclass(frozen=True)
class Method:
    """A method as it is run: its kind and, where descriptors belong to it, their length L (otherwise 0)."""

    kind: MethodKind
    length: int = 0

    @property
    def token(self) -> str:
        """What `--methods` accepts for this method, e.g. `gradFmap/80`."""
        return f"{self.kind.token}/{self.length}" if self.kind.has_scales else self.kind.token

    @property
    def file_tag(self) -> str:
        """The part of file names that tells methods apart."""
        return f"sub_{self.kind.sub}_aug_{self.kind.aug}_L_{self.length}"

    def notation(self, ensemble_size: int, mc_samples: int) -> str:
        """The paper's legend entry."""
        if self.kind.has_scales:
            return f"{self.kind.notation}, L={self.length}"
        if self.kind.aug == UNCERTAIN:
            return f"{self.kind.notation}, E={ensemble_size}, K={mc_samples}"
        return self.kind.notation


def parse_method(token: str, experiment: Experiment) -> Method:
    """Turn `sub` or `sub/L` into a Method; L defaults to the experiment's default length.

    Raises UserError for an unknown method or an L that the network has not.
    """
    name, slash, length = token.partition("/")
    if name not in METHOD_KINDS:
        raise UserError(f"--methods {token}: unknown method '{name}', choose from {', '.join(METHOD_KINDS)}")
    kind = METHOD_KINDS[name]
    if slash and not kind.has_scales:
        raise UserError(f"--methods {token}: {name} has no descriptors, write it without '/{length}'")
    if slash and not length.isdigit():
        raise UserError(f"--methods {token}: '{length}' is not a descriptor length; write e.g. {name}/20")
    return _method(kind, int(length) if slash else experiment.default_length, experiment)


def find_method(sub: str, aug: str | None, length: int | None, experiment: Experiment) -> Method:
    """Find the method of the stage options `-sub`, `-aug` (None: the subtype's own) and `-dl`."""
    matches = [kind for kind in METHOD_KINDS.values() if kind.sub == sub and aug in (None, kind.aug)]
    if not matches:
        pairs = ", ".join(f"-sub {kind.sub} -aug {kind.aug}" for kind in METHOD_KINDS.values())
        raise UserError(f"unknown method '-sub {sub}{f' -aug {aug}' if aug else ''}': choose from {pairs}")
    if len(matches) > 1:
        choices = " or ".join(kind.aug for kind in matches)
        raise UserError(f"-sub {sub} goes with more than one -aug: add -aug {choices}")
    return _method(matches[0], experiment.default_length if length is None else length, experiment)


def _method(kind: MethodKind, length: int, experiment: Experiment) -> Method:
    if not kind.has_scales:
        return Method(kind)
    experiment.scales_of(length)
    return Method(kind, length)

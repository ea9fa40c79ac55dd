"""The methods: option tokens, the paper's notation and plot style, in one registry."""

from __future__ import annotations

from dataclasses import dataclass

from fisher_al.errors import UserError
from fisher_al.experiment import Experiment

RANDOM, UNCERTAIN, KERNEL_Z, KERNEL_ZG = "random", "topUncert", "topKandPcc", "topKandPccFprGrad"
CORESET, BADGE, ADVERSARIAL = "coreSet", "badge", "vaal"


@dataclass(frozen=True)
class MethodKind:
    """One row of the registry: how a method is named, what it computes, and how it is drawn.

    `sub` and `aug` are the subtype and acquisition tokens of options and file names, `token` stands for both
    in `--methods`. `pool_labels` says whether the method sees labels of the pool before it asks for them,
    `folder` where the scripts are that run it, if not the dataset's own.
    """

    token: str
    sub: str
    aug: str
    notation: str  # the paper's, as math text
    formula: str
    cost: str  # per pool image and iteration
    color: str
    marker: str
    pool_labels: bool = False
    ensembles: bool = False
    extension: bool = False  # not in the paper
    folder: str = ""

    @property
    def has_scales(self) -> bool:
        """Whether descriptors, and so a length L, belong to the method."""
        return self.aug not in (RANDOM, UNCERTAIN, ADVERSARIAL)

    @property
    def borrows_labels(self) -> bool:
        """Whether S is the label of the most similar validation image."""
        return self.sub in ("gradFmap", "gradGmap")


_SCORES = "1 forward pass, 1 pooled gradient"
_PASSES = "K passes above the first dropout"
_VIEWS = "K forward passes, C pooled gradients each"


def _uncertain(sub: str, notation: str, formula: str, color: str, marker: str) -> MethodKind:
    ensembles = sub != "stdMC"
    return MethodKind(sub, sub, UNCERTAIN, notation, formula, _PASSES, color, marker, ensembles=ensembles)


def _fisher(
    sub: str, notation: str, formula: str, cost: str, color: str, marker: str, pool_labels: bool = False
) -> MethodKind:
    return MethodKind(sub, sub, KERNEL_ZG, notation, formula, cost, color, marker, pool_labels)


# Colours are told apart by colour-blind readers (Okabe and Ito; Tol), markers in grey.
METHOD_KINDS = {
    kind.token: kind
    for kind in (
        MethodKind("random", "none", RANDOM, "random", "uniform", "none", "#000000", "o"),
        _uncertain("varMC", "varR", "1 - share of the modal class over K passes", "#E69F00", "s"),
        _uncertain("entMC", "entropy", "entropy of the mean softmax", "#B8860B", "p"),
        _uncertain("baldMC", "BALD", "entropy of the mean - mean entropy", "#7F5F00", "h"),
        _uncertain("stdMC", "mean STD", "mean over classes of the std over K passes", "#C9A227", "*"),
        MethodKind("none", "none", KERNEL_Z, "$R_z$", "features alone", "1 forward pass", "#56B4E9", "^"),
        _fisher("gradAbl", "$S=y$", "true label", _SCORES, "#009E73", "D", pool_labels=True),
        _fisher("grad", r"$S=\hat{y}$", "argmax of the network", _SCORES, "#CC79A7", "v"),
        _fisher(
            "gradFmap",
            r"ours, $S=\hat{p}(y,z)$",
            "label of the validation image nearest in R_z",
            f"{_SCORES}, V products of length L",
            "#D55E00",
            "P",
        ),
        _fisher(
            "gradGmap",
            r"$S=\hat{p}(y,z,g)$",
            "label of the validation image nearest in R_zg",
            "1 forward pass, 2 pooled gradients, V products of length 2L",
            "#8B2500",
            "X",
        ),
        _fisher(
            "cor", r"$S=\mathrm{tr}(C_{zg})$", "argmax_c of sum z . g(c) over K views", _VIEWS, "#0072B2", "<"
        ),
        _fisher(
            "amiFull",
            r"$S=I(z;g)$",
            "argmax_c of logdet ZZ' + logdet GG' - logdet [Z;G][Z;G]'",
            f"{_VIEWS}, C determinants of order min(2L, K)",
            "#882255",
            ">",
        ),
        _fisher(
            "amiDiag",
            r"$S=I_\mathrm{diag}(z;g)$",
            "argmax_c of -sum over channels of log(1 - rho^2)",
            _VIEWS,
            "#AA4499",
            "d",
        ),
        MethodKind(
            "vaal",
            "none",
            ADVERSARIAL,
            "VAAL",
            "lowest discriminator output (arXiv:1904.00370)",
            "1 encoder pass; VAE and discriminator are trained anew",
            "#6A51A3",
            "H",
            folder="vaal",
        ),
        MethodKind(
            "coreset",
            "none",
            CORESET,
            "core-set",
            "farthest-first in features z (arXiv:1708.00489)",
            "1 forward pass, A + bA distances of length L",
            "#777777",
            "x",
            extension=True,
        ),
        MethodKind(
            "badge",
            "none",
            BADGE,
            "BADGE",
            "k-means++ on (softmax - argmax) x z (arXiv:1906.03671)",
            "1 forward pass, A distances of length CL",
            "#999933",
            "+",
            extension=True,
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
    def samples_repeatedly(self) -> bool:
        """Whether the number K of dropout passes or views matters."""
        return self.kind.aug == UNCERTAIN or self.kind.sub in ("cor", "amiFull", "amiDiag")

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


def methods_table() -> list[list[str]]:
    """The registry as rows of text: token, notation, formula, pool labels seen, cost per pool image."""
    return [
        [
            f"`{kind.token}/L`" if kind.has_scales else f"`{kind.token}`",
            kind.notation + (" (not in the paper)" if kind.extension else ""),
            kind.formula,
            "yes" if kind.pool_labels else "no",
            kind.cost,
        ]
        for kind in METHOD_KINDS.values()
    ]


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
    if slash and not length.isdecimal():
        raise UserError(f"--methods {token}: '{length}' is not a descriptor length; write e.g. {name}/20")
    length = int(length) if slash else experiment.default_length
    return _method(kind, length, experiment, f"--methods {token}")


def find_method(sub: str, aug: str | None, length: int | None, experiment: Experiment) -> Method:
    """Find the method of the stage options `-sub`, `-aug` (None: the subtype's own) and `-dl`."""
    kinds = [kind for kind in METHOD_KINDS.values() if not kind.folder or kind.aug == aug]
    matches = [kind for kind in kinds if kind.sub == sub and aug in (None, kind.aug)]
    if not matches:
        pairs = ", ".join(f"-sub {kind.sub} -aug {kind.aug}" for kind in kinds)
        raise UserError(f"unknown method '-sub {sub}{f' -aug {aug}' if aug else ''}': choose from {pairs}")
    if len(matches) > 1:
        choices = " or ".join(kind.aug for kind in matches)
        raise UserError(f"-sub {sub} goes with more than one -aug: add -aug {choices}")
    if matches[0].folder:
        raise UserError(f"-aug {aug}: not a method of this script; use main.py in {matches[0].folder}/")
    length = experiment.default_length if length is None else length
    return _method(matches[0], length, experiment, f"-dl {length}")


def _method(kind: MethodKind, length: int, experiment: Experiment, option: str) -> Method:
    if not kind.has_scales:
        return Method(kind)
    if length not in experiment.scales:
        lengths = ", ".join(map(str, sorted(experiment.scales)))
        raise UserError(
            f"{option}: {experiment.name}'s network has no descriptors of length {length}; choose {lengths}"
        )
    return Method(kind, length)

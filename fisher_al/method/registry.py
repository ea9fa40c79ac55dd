"""The registry of methods, by name: what `--methods` offers."""

from __future__ import annotations

from fisher_al.method.balanced import BalancedPicks
from fisher_al.method.base import Method
from fisher_al.method.baselines import (
    AdversarialPicks,
    Badge,
    Clue,
    CoreSet,
    Entropy,
    Falcun,
    Margin,
    RandomPicks,
    TypicalPicks,
    ValidationOnly,
)
from fisher_al.method.fisher_kernel import (
    DiagonalInformation,
    FeatureSimilarity,
    GaussianInformation,
    NearestLabel,
    NearestLabelByScores,
    PredictedLabel,
    TraceCorrelation,
    TrueLabel,
)
from fisher_al.method.label_shift import ShiftedLabel
from fisher_al.method.separation import Direct, Galaxy
from fisher_al.method.submodular import Similar
from fisher_al.method.uncertainty import MeanDeviation, MutualInformation, PredictiveEntropy, VariationRatio

# Colours are told apart by colour-blind readers (Okabe and Ito; Tol), markers in grey.
EVERY: tuple[Method, ...] = (
    *(RandomPicks(), VariationRatio(), PredictiveEntropy(), MutualInformation(), MeanDeviation()),
    *(FeatureSimilarity(), TrueLabel(), PredictedLabel(), NearestLabel(), NearestLabelByScores()),
    *(TraceCorrelation(), GaussianInformation(), DiagonalInformation()),
    *(AdversarialPicks(), Margin(), Entropy(), BalancedPicks(), CoreSet(), Badge()),
    *(TypicalPicks(), Clue(), Falcun(), Similar(), Galaxy(), Direct(), ShiftedLabel(), ValidationOnly()),
)
METHODS: dict[str, Method] = {method.name: method for method in EVERY}
assert len(METHODS) == len(EVERY), "two methods have one name"
assert len({(method.sub, method.aug) for method in EVERY}) == len(EVERY), "two methods share files"

"""The registry of methods, by name: what `--methods` offers, and the tables of the documentation."""

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
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        *(RandomPicks(), VariationRatio(), PredictiveEntropy(), MutualInformation(), MeanDeviation()),
        *(FeatureSimilarity(), TrueLabel(), PredictedLabel(), NearestLabel(), NearestLabelByScores()),
        *(TraceCorrelation(), GaussianInformation(), DiagonalInformation()),
        *(AdversarialPicks(), Margin(), Entropy(), BalancedPicks(), CoreSet(), Badge()),
        *(TypicalPicks(), Clue(), Falcun(), Similar(), Galaxy(), Direct(), ShiftedLabel(), ValidationOnly()),
    )
}


def methods_table(beyond_the_paper: bool) -> list[list[str]]:
    """The registry's methods of the paper, or the others, as rows of text.

    Returns: token, notation, formula, pool labels seen, cost per pool image.
    """
    return [
        [
            f"`{method.name}/L`" if method.has_scales else f"`{method.name}`",
            method.notation,
            method.formula,
            "of its picks, one by one" if method.asks_one_by_one else "yes" if method.pool_labels else "no",
            method.cost,
        ]
        for method in METHODS.values()
        if method.extension == beyond_the_paper
    ]

"""What to label next, on features: the head, the validation images that it gets wrong, and the picks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from fisher_al.data.features import ROWS_AT_ONCE, Features
from fisher_al.errors import UserError
from fisher_al.labeling.deeper import Deeper
from fisher_al.labeling.head import calibrated, cross_fitted, fit_head
from fisher_al.labeling.knowledge import Knowledge
from fisher_al.labeling.near_duplicates import without_near_duplicates
from fisher_al.method.acquisition import standardise
from fisher_al.method.base import Descriptors, Iteration, Method
from fisher_al.method.baselines import PredictionUncertainty, RandomPicks
from fisher_al.method.fisher_kernel import FeatureSimilarity, KernelMethod
from fisher_al.method.linear_head import LinearHead, no_head
from fisher_al.method.pick import WITHOUT_CLASSIFIER
from fisher_al.method.predictions import misclassified_validation
from fisher_al.method.question import descriptors_of, methods_on_features, question_on_features
from fisher_al.method.registry import METHODS
from fisher_al.method.submodular import Similar
from fisher_al.method.tapped import POOLED
from fisher_al.seeds import derive_seed

ON_FEATURES = tuple(methods_on_features())


@dataclass(frozen=True)
class Strategy:
    """How to pick.

    method : one of `ON_FEATURES`, or several joined by +. budget : how many. hold_validation : match
    validation images, and do not train on them (the paper's rule). near_duplicate : cosine similarity of
    features above which an image counts as a near-duplicate of one that is trained on, skipped or picked.
    """

    method: str
    budget: int
    hold_validation: bool = False
    near_duplicate: float = 1.0
    seed: int = 0

    @property
    def matches(self) -> bool:
        """Whether picks are chosen to help the validation images that the head gets wrong."""
        methods = (METHODS[name] for name in self.method.split("+"))
        return any(isinstance(method, (KernelMethod, Similar)) for method in methods)


@dataclass(frozen=True)
class Fitted:
    """The head, and what it says of the validation images: probabilities (V, C); none while no image is there
    to train on. calibrated : the same head at a temperature, for people who read its probabilities."""

    head: LinearHead | None
    probabilities: Tensor | None
    calibrated: LinearHead | None

    def predictions(self) -> Tensor | None:
        """Classes (V,) of the validation images."""
        return None if self.probabilities is None else self.probabilities.argmax(1)


@dataclass(frozen=True)
class Picks:
    """Positions in the pool (n,) in the order of picking; similarity or uncertainty of each, NaN where the
    method has none; the validation image that each was matched with, or else is most similar to. And the
    positions of near-duplicates that were passed over."""

    positions: Tensor
    scores: Tensor
    matched: Tensor
    near_duplicates: Tensor


def fit(known: Knowledge, strategy: Strategy) -> Fitted:
    """Fit the head on all labels that it may see.

    Where it sees the validation images' own, what it says of each comes from a head without that image.
    """
    rows, labels = known.pool[known.labeled], known.labels
    if not strategy.hold_validation:
        rows, labels = torch.cat([rows, known.validation]), torch.cat([labels, known.validation_labels])
    if len(labels.unique()) < 2:
        return Fitted(None, None, None)
    features, classes = known.features_of(rows).numpy(), labels.numpy()
    head = fit_head(features, classes, known.num_classes)
    if strategy.hold_validation:
        with torch.inference_mode():
            probabilities = head(known.features_of(known.validation)).softmax(1)
    else:
        own = np.arange(len(known.labels), len(classes))
        seed = derive_seed(strategy.seed, "folds")
        probabilities = cross_fitted(features, classes, own, known.num_classes, seed)
    return Fitted(head, probabilities, calibrated(head, probabilities, known.validation_labels))


def pick(known: Knowledge, fitted: Fitted, strategy: Strategy, deeper: Deeper | None = None) -> Picks:
    """Choose what to label next; with descriptors of several layers where `deeper` has them.

    Several methods, joined by +, share the budget and take turns in the order of the picks.
    Raises: UserError if fewer than the budget are left.
    """
    require_budget(strategy.budget, len(known.pool) - len(known.labeled) - len(known.left_out))
    methods, taken, parts = strategy.method.split("+"), known.labeled[:0], []
    for number, method in enumerate(methods):
        share = (strategy.budget + len(methods) - 1 - number) // len(methods)
        if share:
            part = _pick_by(known, fitted, replace(strategy, method=method, budget=share), deeper, taken)
            taken = torch.cat([taken, part.positions])
            parts.append(part)
    turns = torch.cat([torch.arange(len(part.positions)) for part in parts]).sort(stable=True).indices
    return Picks(
        torch.cat([part.positions for part in parts])[turns],
        torch.cat([part.scores for part in parts])[turns],
        torch.cat([part.matched for part in parts])[turns],
        torch.cat([part.near_duplicates for part in parts]).unique(),
    )


def require_budget(budget: int, left: int) -> None:
    """Raise UserError if fewer images than the budget are left."""
    if budget > left:
        raise UserError(f"--budget {budget}: only {left} images of the pool are left to pick from")


def _pick_by(
    known: Knowledge, fitted: Fitted, strategy: Strategy, deeper: Deeper | None, taken: Tensor
) -> Picks:
    """The picks of one method, without those `taken` before and their near-duplicates."""
    unavailable = torch.cat([known.labeled, known.left_out, taken])
    left = len(known.pool) - len(unavailable)
    count, more = strategy.budget, 0
    earlier = known.pool[unavailable]
    if not strategy.hold_validation:  # else copies of these are what is to be found
        earlier = torch.cat([earlier, known.validation])
    ask = _asker(known, fitted, strategy, deeper, unavailable)
    while True:
        picks = ask(count)
        kept = without_near_duplicates(
            known.features_of, earlier, known.pool[picks.positions], strategy.near_duplicate, strategy.budget
        )
        if len(kept) >= strategy.budget or count == left:
            break
        more = max(2 * more, 2 * (strategy.budget - len(kept)))  # of a burst, the next are alike as well
        count = min(left, count + more)
    chosen = kept[: strategy.budget]
    looked_at = int(chosen[-1]) + 1 if len(chosen) == strategy.budget else len(picks.positions)
    is_passed = torch.ones(looked_at, dtype=torch.bool)
    is_passed[chosen] = False
    passed = picks.positions[:looked_at][is_passed]
    return Picks(picks.positions[chosen], picks.scores[chosen], picks.matched[chosen], passed)


def _asker(
    known: Knowledge, fitted: Fitted, strategy: Strategy, deeper: Deeper | None, unavailable: Tensor
) -> Callable[[int], Picks]:
    """What gives the method's first so many picks; deeper layers are described once for all of its calls."""
    method = _method(strategy, fitted)
    iteration, matchable = _iteration(known, fitted, strategy)
    if not isinstance(method, KernelMethod):
        return partial(_chosen, known, method, iteration, unavailable)
    if deeper is not None and fitted.head is not None:
        iteration = deeper.look_deeper(iteration, fitted.head, matchable)
    description = method.describe(iteration, 0)
    pool = description.pool
    if deeper is not None and iteration.scales != (POOLED,):
        pool = deeper.keep(pool)
    described = Descriptors([pool], description.validation)
    return partial(_matched, method, iteration, matchable, described, unavailable)


def _matched(
    method: KernelMethod,
    iteration: Iteration,
    matchable: Tensor,
    described: Descriptors,
    unavailable: Tensor,
    count: int,
) -> Picks:
    targets = misclassified_validation(iteration)
    matches = method.matches(iteration, unavailable, described, targets, count)
    widths = [iteration.load_network(0).scales[name] for name in iteration.scales]
    most = method.largest_similarity(widths)
    similarity, matched = matches.similarity / most, matchable[matches.centres]
    return Picks(matches.candidates, similarity, matched, matches.candidates[:0])


def _chosen(known: Knowledge, method: Method, iteration: Iteration, unavailable: Tensor, count: int) -> Picks:
    iteration = replace(iteration, budget=count)
    described = descriptors_of(method, iteration, in_memory=False)
    positions = method.pick(iteration, unavailable, described)
    scores = torch.full((len(positions),), torch.nan)
    if isinstance(method, PredictionUncertainty):
        scores = method.uncertainty(iteration)[positions]
    return Picks(positions, scores, _most_similar(known, positions), positions[:0])


def calibrated_probabilities(known: Knowledge, fitted: Fitted, picks: Picks) -> Tensor | None:
    """What the calibrated head says of the picks (n, C); None where there is no head, or no pick."""
    if fitted.calibrated is None or len(picks.positions) == 0:
        return None
    with torch.inference_mode():
        return fitted.calibrated(known.features_of(known.pool[picks.positions])).softmax(1)


def _most_similar(known: Knowledge, positions: Tensor) -> Tensor:
    """The validation image that is most similar in R_z to each of some pool images (n,)."""
    images, validation = (
        standardise(known.features_of(rows)) for rows in (known.pool[positions], known.validation)
    )
    return (images @ validation.T).argmax(1)


def _method(strategy: Strategy, fitted: Fitted) -> Method:
    """The method that is asked for, or what is left of it while there is no head."""
    method = METHODS[strategy.method]
    if fitted.head is None and isinstance(method, KernelMethod):
        return FeatureSimilarity()
    if fitted.head is None and strategy.method not in WITHOUT_CLASSIFIER:
        return RandomPicks()
    return method


def _iteration(known: Knowledge, fitted: Fitted, strategy: Strategy) -> tuple[Iteration, Tensor]:
    """The round as methods look at it, and the positions of the validation images that they see."""
    matchable = (~known.spared).nonzero().squeeze(1)
    labels = known.validation_labels[matchable]
    width = known.rows.shape[1]
    head = fitted.head or no_head(known.num_classes, width)
    predictions = fitted.predictions()
    iteration = question_on_features(
        head,
        known.pool_images,
        Features(known.rows, known.validation[matchable], labels),
        strategy.budget,
        strategy.seed,
        torch.full_like(labels, -1) if predictions is None else predictions[matchable],
    )
    trained = None if strategy.hold_validation else known.validation_labels
    return replace(iteration, trained_validation_labels=trained), matchable


def classes_in_blocks(head: LinearHead, images: Features) -> tuple[Tensor, Tensor]:
    """Most probable class and its probability, (N,) each, of images as they are read."""
    found: list[Sequence[Tensor]] = []
    with torch.inference_mode():
        for inputs, _ in images.batches(ROWS_AT_ONCE):
            found.append(head(inputs).softmax(1).max(1))
    confidence, classes = (torch.cat(parts) for parts in zip(*found, strict=True))
    return classes, confidence

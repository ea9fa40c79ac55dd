"""Rounds with the answers from a file: what a method would have gained on images that are labeled already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fisher_al.data.features import Features
from fisher_al.labeling.knowledge import Knowledge
from fisher_al.labeling.selection import Fitted, Strategy, classes_in_blocks, fit, pick
from fisher_al.seeds import derive_seed


@dataclass(frozen=True)
class Answers:
    """What the oracle knows. pool : class (N,) of every pool image. rare : numbers of the rarest classes.

    test : images that score, with their labels.
    """

    pool: Tensor
    rare: Tensor
    test: Features


@dataclass(frozen=True)
class Point:
    """A head after `labels` answers: shares from 0 to 1.

    rare_recall : mean recall of the rarest classes; rare_picks : their share of all picks so far.
    """

    method: str
    seed: int
    labels: int
    accuracy: float
    balanced_accuracy: float
    rare_recall: float
    rare_picks: float


def simulate(
    known: Knowledge, answers: Answers, strategy: Strategy, rounds: int, progress: Callable[[], object]
) -> Iterator[Point]:
    """Yield how good the head is before every round and after the last one.

    Where there is no head yet, as there are no labels, a round yields no point.
    """
    for round_number in range(rounds + 1):
        seed = derive_seed(strategy.seed, "round", round_number)
        now = replace(strategy, seed=seed)
        fitted = fit(known, now)
        if fitted.head is not None:
            yield _point(known, answers, strategy, fitted)
        if round_number < rounds:
            picks = pick(known, fitted, now).positions
            known = replace(
                known,
                labeled=torch.cat([known.labeled, picks]),
                labels=torch.cat([known.labels, answers.pool[picks]]),
            )
        progress()


def _point(known: Knowledge, answers: Answers, strategy: Strategy, fitted: Fitted) -> Point:
    assert fitted.head is not None
    test = answers.test
    predictions, _ = classes_in_blocks(fitted.head, test)
    right = (predictions == test.labels).double()
    recalls = {int(label): right[test.labels == label].mean().item() for label in test.labels.unique()}
    rare = [recalls[number] for number in answers.rare.tolist() if number in recalls]
    return Point(
        method=strategy.method,
        seed=strategy.seed,
        labels=len(known.labeled),
        accuracy=right.mean().item(),
        balanced_accuracy=_mean(list(recalls.values())),
        rare_recall=_mean(rare),
        rare_picks=_mean(torch.isin(known.labels, answers.rare).double().tolist()),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def rarest_half(labels: Tensor, num_classes: int) -> Tensor:
    """Numbers of the half of the classes that have the fewest images, without those that have none."""
    counts = torch.bincount(labels, minlength=num_classes)
    fewest = counts.sort(stable=True).indices
    return fewest[counts[fewest] > 0][: num_classes // 2]

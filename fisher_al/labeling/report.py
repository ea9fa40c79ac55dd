"""What a round found: numbers for `report.json`, and the same as text."""

from __future__ import annotations

from typing import Any

import numpy as np
from tabulate import tabulate
from torch import Tensor

from fisher_al.labeling.catalogue import Catalogue
from fisher_al.labeling.head import knows_class
from fisher_al.labeling.knowledge import Knowledge
from fisher_al.labeling.selection import Fitted, Picks, Strategy, calibrated_probabilities


def report(
    catalogue: Catalogue, known: Knowledge, strategy: Strategy, fitted: Fitted, picks: Picks
) -> dict[str, Any]:
    """Numbers of the round, as JSON can hold them."""
    return {
        "images": {
            "pool": len(catalogue.pool),
            "labeled": len(catalogue.labels),
            "skipped": len(catalogue.left_out),
            "validation": len(catalogue.validation),
            "validation images in the pool": catalogue.shared,
            "passed over": len(catalogue.passed_over),
            "picked": len(picks.positions),
            "near-duplicates passed over": len(picks.near_duplicates),
        },
        "method": strategy.method,
        "budget": strategy.budget,
        "accuracy": _accuracy(known, strategy, fitted),
        "classes": _classes(catalogue, known, fitted, picks),
    }


def _accuracy(known: Knowledge, strategy: Strategy, fitted: Fitted) -> dict[str, Any]:
    """Accuracy and balanced accuracy of validation images, in percent; apart, of those never matched."""
    predictions = fitted.predictions()
    if fitted.probabilities is None or predictions is None:
        return {"how": "no head yet: there are no labels to train one on"}
    fitting = (
        "a head that never sees validation images"
        if strategy.hold_validation
        else "heads that were fitted without the image (cross-fitting)"
    )
    scores = {"all validation images": _score(predictions, known.validation_labels)}
    how = f"predicted by {fitting}"
    if strategy.matches and known.spared.any():
        found = _score(predictions[known.spared], known.validation_labels[known.spared])
        scores = {"validation images that are never matched": found, **scores}
        how += "; of all, those that picks were matched with make the score too good"
    elif strategy.matches:
        how += "; too few to spare some from matching, which makes the score too good"
    unknown = int((~knows_class(fitted.probabilities, known.validation_labels)).sum())
    if unknown:
        how += f"; {unknown} cannot be right, as no other image of their class was there to learn from"
    return {"how": how, **scores}


def _score(predictions: Tensor, labels: Tensor) -> dict[str, Any]:
    right = (predictions == labels).double()
    recalls = [right[labels == label].mean().item() for label in labels.unique()]
    return {
        "images": len(labels),
        "accuracy": _percent(right.mean().item()),
        "balanced accuracy": _percent(float(np.mean(recalls))),
    }


def _percent(share: float) -> float:
    return round(100 * share, 1)


def _classes(
    catalogue: Catalogue, known: Knowledge, fitted: Fitted, picks: Picks
) -> dict[str, dict[str, Any]]:
    """By class: images, recall on validation images and expected share of the picks, in percent."""
    predictions, probabilities = fitted.predictions(), calibrated_probabilities(known, fitted, picks)
    expected = None if probabilities is None else probabilities.mean(0)
    rows = {}
    for number, name in enumerate(catalogue.classes):
        own = known.validation_labels == number
        row: dict[str, Any] = {"labeled": int((known.labels == number).sum()), "validation": int(own.sum())}
        if predictions is not None and own.any():
            row["recall"] = _percent((predictions[own] == number).double().mean().item())
        if expected is not None:
            row["expected among picks"] = _percent(expected[number].item())
        rows[name] = row
    return rows


def summary(numbers: dict[str, Any]) -> str:
    """The report as text for the terminal."""
    images, accuracy = numbers["images"], numbers["accuracy"]
    lines = [", ".join(f"{count:,} {name}" for name, count in images.items() if count or name == "labeled")]
    columns = ["class", "labeled", "validation", "recall, %", "expected among picks, %"]
    keys = ("labeled", "validation", "recall", "expected among picks")
    rows = sorted(numbers["classes"].items(), key=lambda item: item[1].get("recall", -1))
    cells = [[shown(name), *(row.get(key, "") for key in keys)] for name, row in rows]
    lines += ["", tabulate(cells, headers=columns, disable_numparse=True), ""]
    for kind, score in accuracy.items():
        if isinstance(score, dict):
            lines.append(
                f"{kind} ({score['images']}): accuracy {score['accuracy']}%, balanced "
                f"{score['balanced accuracy']}%"
            )
    lines.append(accuracy["how"])
    if unknown := [shown(name) for name, row in rows if not row["validation"]]:
        names = ", ".join(unknown[:10] + ["..."] * (len(unknown) > 10))
        lines.append(
            f"No validation image of {names}: accuracies leave such a class out. Add one to --validation, "
            "or correct the name in --labels."
        )
    if images["picked"] < numbers.get("budget", 0):
        lines.append(
            f"Only {images['picked']:,} of {numbers['budget']:,} picks: all other images are "
            "near-duplicates; a larger --near-duplicate takes them, too."
        )
    return "\n".join(lines)


def shown(name: str) -> str:
    """A class's name in one line of a terminal."""
    return "".join(character if character.isprintable() else "�" for character in name)[:60]

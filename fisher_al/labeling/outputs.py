"""The files of a round: picks, labels to fill in, predictions for the rest, the head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from fisher_al.files.storage import save_tensors
from fisher_al.labeling.backbone import Backbone
from fisher_al.labeling.catalogue import Catalogue
from fisher_al.labeling.knowledge import Knowledge
from fisher_al.labeling.label_studio import write_tasks
from fisher_al.labeling.page import Card, write_page
from fisher_al.labeling.selection import Fitted, Picks, calibrated_probabilities, classes_in_blocks
from fisher_al.labeling.tables import LABEL_COLUMN, PATH_COLUMN, write_rows
from fisher_al.method.linear_head import LinearHead

# What a round leaves in its folder besides its settings and report.
PICKS, ANSWERS, TASKS, PAGE = "picks.csv", "labels.csv", "label_studio.json", "index.html"
UNREADABLE, PREDICTIONS, HEAD = "unreadable.csv", "predictions.csv", "head.pt"
ROUND_FILES = (PICKS, ANSWERS, TASKS, PAGE, UNREADABLE, PREDICTIONS, HEAD)

PICK_COLUMNS = (
    *(PATH_COLUMN, "rank", "score", "predicted", "confidence"),
    *("matched_filepath", "matched_label"),
)


def cards_of(catalogue: Catalogue, known: Knowledge, fitted: Fitted, picks: Picks) -> list[Card]:
    """Every pick, in order, with what the head predicts and the validation image that it was matched with."""
    root = catalogue.root.absolute()
    predicted, confidence = [""] * len(picks.positions), [0.0] * len(picks.positions)
    if (probabilities := calibrated_probabilities(known, fitted, picks)) is not None:
        best = probabilities.max(1)
        predicted = [catalogue.classes[number] for number in best.indices.tolist()]
        confidence = best.values.tolist()
    names = list(catalogue.validation)
    matched = [names[number] for number in picks.matched.tolist()]
    cards = []
    for position, name, sure, other in zip(
        picks.positions.tolist(), predicted, confidence, matched, strict=True
    ):
        key = catalogue.pool[position]
        label = catalogue.validation[other]
        cards.append(Card(key, root / key, name, sure, other, label, root / other))
    return cards


def write_round(folder: Path, catalogue: Catalogue, cards: Sequence[Card], picks: Picks, title: str) -> None:
    """Write what a person needs to label the picks; labels that are there already stay."""
    scores = [f"{score:.6g}" if math.isfinite(score) else "" for score in picks.scores.tolist()]
    write_rows(
        folder / PICKS,
        PICK_COLUMNS,
        (
            (c.filepath, rank, score, c.predicted, f"{c.confidence:.4f}", c.matched_filepath, c.matched_label)
            for rank, (c, score) in enumerate(zip(cards, scores, strict=True), 1)
        ),
    )
    if not (folder / ANSWERS).exists():
        write_rows(folder / ANSWERS, (PATH_COLUMN, LABEL_COLUMN), ((c.filepath, "") for c in cards))
    write_tasks(
        folder / TASKS,
        catalogue.root,
        [(c.filepath, c.predicted, c.confidence) for c in cards],
    )
    write_page(folder / PAGE, title, catalogue.classes, cards)
    if catalogue.passed_over:
        write_rows(folder / UNREADABLE, (PATH_COLUMN, "reason"), catalogue.passed_over.items())


def write_predictions(path: Path, catalogue: Catalogue, known: Knowledge, head: LinearHead) -> None:
    """Write the most probable class of every pool image that has no label."""
    classes, confidence = classes_in_blocks(head, known.pool_images)
    rows = (
        (key, catalogue.classes[number], f"{sure:.4f}")
        for key, number, sure in zip(catalogue.pool, classes.tolist(), confidence.tolist(), strict=True)
        if key not in catalogue.labels
    )
    write_rows(path, (PATH_COLUMN, "predicted", "confidence"), rows)


def write_head(path: Path, head: LinearHead, classes: Sequence[str], backbone: Backbone) -> None:
    """Write the head with what its features are made by: softmax(weight @ features + bias) over `classes`."""
    content = {
        "weight": head.linear.weight.detach(),
        "bias": head.linear.bias.detach(),
        "classes": list(classes),
        "backbone": backbone.identity,
        **{name: getattr(backbone, name) for name in ("crop", "resize", "mean", "std")},
    }
    save_tensors(content, path)

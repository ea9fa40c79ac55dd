"""What a round is about: the pool's images, the labeled ones, the validation images, and their classes."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fisher_al.errors import UserError
from fisher_al.labeling.answers import read_labels, read_validation, require_agreement
from fisher_al.labeling.pool import find_pool
from fisher_al.labeling.tables import SKIP


@dataclass(frozen=True)
class Catalogue:
    """Images by their keys, and what is known of them.

    pool : images that may be picked, or are labeled. labels : label by key. left_out : images that somebody
    skipped. passed_over : files that cannot be used, with the reason. shared : how many validation images are
    also in the pool, where they count as validation images alone.
    """

    root: Path
    classes: list[str]
    pool: list[str]
    labels: dict[str, str]
    left_out: list[str]
    validation: dict[str, str]
    passed_over: dict[str, str]
    shared: int

    @property
    def images(self) -> list[str]:
        """Keys of all images."""
        return [*self.pool, *self.validation]

    def paths(self) -> list[str]:
        """Absolute path of every image of `images`."""
        return [os.path.abspath(self.root / key) for key in self.images]

    def without(self, keys: Collection[str]) -> Catalogue:
        """The same without some images."""
        return replace(
            self,
            pool=[key for key in self.pool if key not in keys],
            labels={key: label for key, label in self.labels.items() if key not in keys},
            left_out=[key for key in self.left_out if key not in keys],
            validation={key: label for key, label in self.validation.items() if key not in keys},
        )


def read_catalogue(pool: Path, validation: Path, labels: Sequence[Path]) -> Catalogue:
    """Find the pool's images, and read the labels.

    Raises: UserError as `find_pool`, `read_labels` and `read_validation` do; if a validation image has
    another label in `labels`; or if no image of the pool is left.
    """
    found = find_pool(pool)
    known = read_validation(validation, found)
    answers = read_labels(labels, found)
    if any(answers[key] not in (known[key], SKIP) for key in answers.keys() & known.keys()):
        require_agreement(validation, labels, found)
    own = {key: label for key, label in answers.items() if key not in known}
    in_pool = [key for key in found.keys if key not in known]
    if not in_pool:
        raise UserError(f"{pool}: all its images are validation images; none is left to pick from")
    members = frozenset(in_pool)
    outside = [key for key in own if key not in members]
    given = {key: label for key, label in own.items() if label != SKIP}
    return Catalogue(
        root=found.root,
        classes=sorted({*known.values(), *given.values()}),
        pool=in_pool + outside,
        labels=given,
        left_out=[key for key, label in own.items() if label == SKIP],
        validation=known,
        passed_over=found.passed_over,
        shared=len(found.keys) - len(in_pool),
    )


def without_unreadable(catalogue: Catalogue, reasons: Mapping[str, str]) -> Catalogue:
    """The same without images that cannot be read; reasons : by absolute path.

    Raises: UserError if a class is left without a validation image, or the pool without any.
    """
    if not reasons:
        return catalogue
    paths = zip(catalogue.images, catalogue.paths(), strict=True)
    broken = {key: reasons[path] for key, path in paths if path in reasons}
    readable = catalogue.without(broken)
    for label in sorted(set(catalogue.validation.values()) - set(readable.validation.values())):
        key = next(key for key, other in catalogue.validation.items() if other == label)
        raise UserError(
            f"class '{label}': none of its validation images can be read, the first is {key} "
            f"({broken[key]}); give one that can be"
        )
    if not readable.pool:
        raise UserError(
            f"{catalogue.root}: none of its images can be read, the first is {next(iter(broken))}"
        )
    return replace(readable, passed_over={**catalogue.passed_over, **broken})

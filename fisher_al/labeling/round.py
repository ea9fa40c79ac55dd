"""One round: from a folder of images and a few labels to what should be labeled next."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fisher_al.data.folder_images import Decoder
from fisher_al.data.loaders import LOADERS
from fisher_al.errors import UserError
from fisher_al.files.locks import BusyError, hold
from fisher_al.files.storage import abandoned, remove_abandoned, save_json
from fisher_al.labeling.backbone import Backbone
from fisher_al.labeling.cache import open_cache
from fisher_al.labeling.catalogue import Catalogue, read_catalogue, without_unreadable
from fisher_al.labeling.deeper import Deeper
from fisher_al.labeling.embedding import Embedder, embed
from fisher_al.labeling.knowledge import Knowledge, knowledge
from fisher_al.labeling.outputs import (
    HEAD,
    PAGE,
    PICKS,
    PREDICTIONS,
    ROUND_FILES,
    cards_of,
    write_head,
    write_predictions,
    write_round,
)
from fisher_al.labeling.report import report, summary
from fisher_al.labeling.selection import Strategy, fit, pick, require_budget
from fisher_al.method.tapped import POOLED

# What the round was asked for is written first, what it found last.
SETTINGS, REPORT = "round.json", "report.json"
DESCRIPTORS = "descriptors.pt"  # of several layers, while it picks


@dataclass(frozen=True)
class Sources:
    """Where images and labels are; labels : files of answers."""

    pool: Path
    validation: Path
    labels: tuple[Path, ...]


@dataclass(frozen=True)
class Reading:
    """How images become features: the network, what decodes for it, and where that runs.

    cache : folder of the features. processes : how many share the work. widths : channels
    of the layers that descriptors have.
    """

    backbone: Backbone
    loader: str
    workers: int
    device: str
    processes: int
    cache: Path
    widths: dict[str, int]

    @property
    def identity(self) -> str:
        """What the features depend on besides the images, as the name of a folder."""
        one = self.backbone
        inputs = f"{one.crop}/{one.resize}/{one.mean}/{one.std}/{self.loader}"
        return f"{one.identity.replace(':', '-')}-{hashlib.sha256(inputs.encode()).hexdigest()[:8]}"

    @property
    def decoder(self) -> Decoder:
        """What decodes files by their absolute paths."""
        one, load = self.backbone, LOADERS[self.loader]
        return Decoder(Path("/"), one.crop, one.resize, load, one.mean, one.std, self.workers)

    def embedder(self) -> Embedder:
        """What computes the features."""
        return Embedder(self.backbone.tapped(), self.decoder, self.device, self.processes)

    def deeper(self, catalogue: Catalogue, scratch: Path) -> Deeper | None:
        """The images for descriptors of several layers, where they are asked for."""
        if set(self.widths) == {POOLED}:
            return None
        paths, count = catalogue.paths(), len(catalogue.pool)
        return Deeper(
            backbone=self.backbone,
            widths=self.widths,
            decoder=self.decoder,
            device=self.device,
            pool=paths[:count],
            validation=paths[count:],
            scratch=scratch,
        )


def known_images(catalogue: Catalogue, reading: Reading) -> tuple[Catalogue, Knowledge]:
    """Embed what is not in the cache yet. Returns: what can be read of the catalogue, and that by numbers."""
    paths = catalogue.paths()
    with open_cache(reading.cache, reading.identity, reading.backbone.width) as cache:
        rows, reasons = embed(reading.embedder(), paths, cache)
        features = cache.rows()
    by_path = dict(zip(paths, rows.tolist(), strict=True))
    readable = without_unreadable(catalogue, reasons)
    return readable, knowledge(readable, by_path, features)


def run_round(sources: Sources, reading: Reading, strategy: Strategy, out: Path) -> dict[str, Any]:
    """Pick, and write the files of the round into `out`.

    The same request again gives what is there; one that was interrupted goes on.
    Returns: the report.
    Raises: UserError for what is wrong with the sources, or if `out` holds something else.
    """
    start = time.monotonic()
    catalogue = read_catalogue(sources.pool, sources.validation, sources.labels)
    settings = _settings(reading, strategy, catalogue)
    require_own(out, settings)
    require_budget(strategy.budget, len(catalogue.pool) - len(catalogue.labels) - len(catalogue.left_out))
    try:
        with hold(out / "round.lock"):
            require_own(out, settings)  # as another process may have been here meanwhile
            if all((out / name).is_file() for name in (REPORT, PICKS, PAGE)):
                return _read_report(out / REPORT)
            remove_abandoned(out / name for name in (SETTINGS, REPORT, DESCRIPTORS, *ROUND_FILES))
            save_json(settings, out / SETTINGS)
            return _run(catalogue, reading, strategy, out, start)
    except BusyError as error:
        raise UserError(f"{out}: another process works on this round; wait for it") from error


def _run(
    catalogue: Catalogue, reading: Reading, strategy: Strategy, out: Path, start: float
) -> dict[str, Any]:
    readable, known = known_images(catalogue, reading)
    embedded = time.monotonic()
    fitted = fit(known, strategy)
    picks = pick(known, fitted, strategy, reading.deeper(readable, out / DESCRIPTORS))
    numbers = report(readable, known, strategy, fitted, picks)
    picked = time.monotonic()
    cards = cards_of(readable, known, fitted, picks)
    write_round(out, readable, cards, picks, out.resolve().name)
    if fitted.calibrated is not None:
        write_head(out / HEAD, fitted.calibrated, readable.classes, reading.backbone)
        write_predictions(out / PREDICTIONS, readable, known, fitted.calibrated)
    numbers["seconds"] = {
        "reading and embedding": round(embedded - start, 1),
        "head and picks": round(picked - embedded, 1),
        "files": round(time.monotonic() - picked, 1),
    }
    save_json(numbers, out / REPORT)
    return numbers


def _settings(reading: Reading, strategy: Strategy, catalogue: Catalogue) -> dict[str, Any]:
    """What the picks depend on, as JSON has it."""
    return {
        "images of the pool": _fingerprint(catalogue.pool),
        "validation": _fingerprint(f"{key}\0{label}" for key, label in catalogue.validation.items()),
        "labels": _fingerprint(f"{key}\0{label}" for key, label in catalogue.labels.items()),
        "skipped": _fingerprint(catalogue.left_out),
        "network": reading.identity,
        "scales": list(reading.widths),
        **asdict(strategy),
    }


def _fingerprint(lines: Iterable[str]) -> str:
    digest, count = hashlib.sha256(), 0
    for line in lines:
        digest.update(line.encode() + b"\n")
        count += 1
    return f"{count:,} of {digest.hexdigest()[:12]}"


def require_own(out: Path, settings: Mapping[str, Any]) -> None:
    """Raise UserError unless the folder is new, empty, or of these settings."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: is a file; name a folder")
    path = out / SETTINGS
    own = {"round.lock", *(temporary.name for temporary in abandoned([path]))}
    found = {entry.name for entry in out.iterdir()} - own if out.is_dir() else set()
    if not found:
        return
    if not path.is_file():
        raise UserError(f"--out {out}: holds other files; name a new folder")
    recorded = _read_json(path)
    if found == {SETTINGS} and recorded.keys() == settings.keys():
        return  # of a round that came to no picks
    for name, value in settings.items():
        if recorded.get(name) != value:
            raise UserError(
                f"--out {out}: holds a round with {name} {recorded.get(name)}, now {value}; name a new folder"
            )


def _read_report(path: Path) -> dict[str, Any]:
    """A report that can be shown; UserError if the file holds anything else."""
    numbers = _read_json(path)
    try:
        summary(numbers)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: broken; name a new folder with --out") from error
    return numbers


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: broken; name a new folder with --out") from error

"""Images through the backbone, once: what is in the cache is read, the rest is computed and kept."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from fisher_al.data.folder_images import BATCHES_AHEAD, Decoder
from fisher_al.data.folder_lists import FORMATS, unreadable
from fisher_al.data.loaders import LOADERS
from fisher_al.data.pixels import why_misread
from fisher_al.errors import UserError
from fisher_al.labeling.cache import FeatureCache, Identity, identity_of
from fisher_al.method.descriptors import ForwardPass
from fisher_al.method.tapped import POOLED, Tapped

# Images at once: few on a CPU, where more are no faster and large photographs fill the memory.
BATCH_SIZE, BATCH_SIZE_GPU = 16, 64

# Rows are kept when so many seconds of work would be lost without.
SECONDS_AT_STAKE = 10.0

# Images larger than this, as they are or resized, are passed over: they take three bytes a pixel.
MOST_PIXELS = 2**28


@dataclass(frozen=True)
class Embedder:
    """What makes features of images: a network, what decodes for it, and where it runs.

    processes : how many share the work, on one GPU each where there are any.
    """

    network: Tapped
    decoder: Decoder
    device: str
    processes: int = 1


def embed(embedder: Embedder, paths: Sequence[str], cache: FeatureCache) -> tuple[Tensor, dict[str, str]]:
    """Put the features of all images into the cache, where they are not yet.

    paths : absolute ones.
    Returns: the row of every image, -1 where it cannot be read (n,); and why it cannot, by path.
    """
    identities: dict[str, Identity] = {}
    reasons: dict[str, str] = {}
    for path in paths:
        try:
            identities[path] = identity_of(path)
        except OSError as error:
            reasons[path] = error.strerror or str(error)
    missing = [path for path, identity in identities.items() if identity not in cache.row_of]
    with tqdm(total=len(missing), desc="embedding", unit="image", delay=1, smoothing=0.05) as bar:
        sound = _with_good_headers(missing, embedder.decoder, reasons)
        bar.update(len(missing) - len(sound))
        compute = _in_processes if embedder.processes > 1 else features_of
        _keep(compute(embedder, sound), identities, cache, reasons, bar.update)
    rows = [cache.row_of.get(identities[path], -1) if path in identities else -1 for path in paths]
    return torch.tensor(rows, dtype=torch.long), reasons


def _keep(
    batches: Iterator[Batch],
    identities: dict[str, Identity],
    cache: FeatureCache,
    reasons: dict[str, str],
    progress: Callable[[int], object],
) -> None:
    """Append the features to the cache, every few seconds; what cannot be read goes to `reasons`."""
    names: list[str] = []
    features: list[Tensor] = []

    def append() -> None:
        if names:
            rows = torch.cat(features)
            if not rows.norm(dim=1).isfinite().all():
                raise UserError(
                    "--weights: they lead to features that are NaN, infinite or huge; give others"
                )
            cache.append([identities[name] for name in names], rows.numpy())
            names.clear()
            features.clear()

    last = time.monotonic()
    try:
        for paths, found in batches:
            if isinstance(found, str):
                reasons.update(dict.fromkeys(paths, found))
            else:
                names.extend(paths)
                features.append(found)
            progress(len(paths))
            if time.monotonic() - last > SECONDS_AT_STAKE:
                append()
                last = time.monotonic()
    finally:
        append()


def batch_size_for(device: str) -> int:
    """Images that are decoded, and go through the network, at once."""
    return BATCH_SIZE if device == "cpu" else BATCH_SIZE_GPU


# Paths, and their features (n, width), or why they cannot be read.
Batch = tuple[Sequence[str], "Tensor | str"]


def features_of(embedder: Embedder, paths: Sequence[str]) -> Iterator[Batch]:
    """Yield the features of images in batches, in order, decoding ahead of the network.

    After a file that cannot be decoded the loader starts anew, behind it.
    """
    network = embedder.network.to(embedder.device)
    decoder, left = embedder.decoder, list(paths)
    while left:
        served = _decoded(decoder, left, embedder.device)
        done = 0
        for inputs in served:
            if inputs is None:
                break
            features = ForwardPass(network, inputs, (POOLED,)).features
            yield left[done : done + len(inputs)], features.float().cpu()
            done += len(inputs)
        left = left[done:]
        if left:
            window = left[: BATCHES_AHEAD * batch_size_for(embedder.device)]
            broken = _unreadable(window, unreadable, decoder.workers)
            for path, reason in broken.items():
                yield [path], reason
            left = [path for path in left if path not in broken]
            if not broken:  # Pillow reads what DALI does not
                by_pillow = replace(embedder, decoder=replace(decoder, load=LOADERS["torchvision"]))
                if decoder.load is LOADERS["torchvision"]:
                    window = window[: batch_size_for(embedder.device)]
                    yield from (_alone(by_pillow, path) for path in window)
                else:
                    yield from features_of(by_pillow, window)
                left = left[len(window) :]


def _alone(embedder: Embedder, path: str) -> Batch:
    """The features of one image, or that it has none."""
    inputs = next(_decoded(replace(embedder.decoder, workers=0), [path], embedder.device))
    if inputs is None:
        return [path], "cannot be decoded"
    return [path], ForwardPass(embedder.network, inputs, (POOLED,)).features.float().cpu()


def _decoded(decoder: Decoder, paths: Sequence[str], device: str) -> Iterator[Tensor | None]:
    """Yield inputs batch by batch; None, and no more, where the loader fails at a file."""
    files = [path.lstrip("/") for path in paths]
    try:
        for inputs, _ in decoder.load(decoder, files, batch_size_for(device), device, None):
            yield inputs
    except RuntimeError:
        yield None


def _with_good_headers(paths: Sequence[str], decoder: Decoder, reasons: dict[str, str]) -> list[str]:
    """Those whose header says that they can be decoded; why the others cannot goes to `reasons`."""
    odd = _unreadable(paths, partial(_problem_in_header, resize=decoder.resize), decoder.workers)
    reasons |= odd
    return [path for path in paths if path not in odd]


def _unreadable(paths: Sequence[str], find: Callable[[Path], str | None], threads: int) -> dict[str, str]:
    with ThreadPoolExecutor(threads) as pool:
        found = zip(paths, pool.map(find, map(Path, paths)), strict=True)
        return {path: reason for path, reason in found if reason is not None}


def _problem_in_header(path: Path, resize: int) -> str | None:
    """What says, before any pixel is decoded, that a file should not be."""
    try:
        with Image.open(path) as image:
            if image.format not in FORMATS:
                return f"its format is {image.format}"
            if reason := why_misread(image):
                return reason
            if image.width * image.height > MOST_PIXELS:
                return f"it has {image.width} x {image.height} pixels"
            if resize**2 * max(image.size) > MOST_PIXELS * min(image.size):
                return f"it is too long: {image.width} x {image.height} pixels"
    except Exception as error:  # Pillow raises whatever a broken file leads it to
        return "no image" if "cannot identify" in str(error) else str(error) or type(error).__name__
    return None


def _in_processes(embedder: Embedder, paths: Sequence[str]) -> Iterator[Batch]:
    """The batches of `features_of`, from several processes that have a part of the images each."""
    context = torch.multiprocessing.get_context("spawn")
    workers, pipes = [], []
    for rank in range(embedder.processes):
        ours, theirs = context.Pipe(duplex=False)
        workers.append(context.Process(target=_work, args=(embedder, list(paths), rank, theirs)))
        pipes.append(ours)
        workers[-1].start()
        theirs.close()  # so that the pipe ends with the process
    try:
        while pipes:
            for pipe in cast(list[Connection], wait(pipes)):
                told = pipe.recv()
                if told is None:
                    pipes.remove(pipe)
                elif isinstance(told, UserError):
                    raise told
                else:
                    names, found = told
                    yield names, torch.from_numpy(found) if isinstance(found, np.ndarray) else found
    except EOFError as error:
        raise UserError("--nproc: a process was killed, perhaps for memory; run the command again") from error
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _work(embedder: Embedder, paths: list[str], rank: int, pipe: Connection) -> None:
    """One process's part: every so many'th image, on the GPU of its number."""
    count = embedder.processes
    torch.set_num_threads(max(1, torch.get_num_threads() // count))
    decoder = replace(embedder.decoder, workers=max(1, embedder.decoder.workers // count))
    device = embedder.device
    if device != "cpu":
        device = f"cuda:{rank % torch.cuda.device_count()}"
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):  # the one that started this has ended
        try:
            own = replace(embedder, decoder=decoder, device=device, processes=1)
            for names, found in features_of(own, paths[rank::count]):
                pipe.send((names, found if isinstance(found, str) else found.numpy()))
            pipe.send(None)
        except UserError as error:
            pipe.send(error)

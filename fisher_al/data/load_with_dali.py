"""Images through NVIDIA DALI: read, decoded, cropped and normalised by its own threads, or by the GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fisher_al.data.folder_images import BATCHES_AHEAD, Decoder
from fisher_al.errors import UserError

try:
    from nvidia.dali import fn, pipeline_def, types
    from nvidia.dali.plugin.base_iterator import LastBatchPolicy
    from nvidia.dali.plugin.pytorch import DALIClassificationIterator
except ImportError as error:
    raise UserError(
        f"--loader dali: cannot be imported ({error}); pip3 install nvidia-dali-cuda130, "
        "or give --loader torchvision"
    ) from error


def load(
    decoder: Decoder, files: Sequence[str], batch_size: int, device: str, seed: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (inputs, positions in `files`) of every batch, as `Decoder.load` has it.

    Inputs are float32 (n, 3, crop, crop), channels last in memory, on `device`. With a seed: a random crop of
    0.1 to 1 of the area and 0.8 to 1.25 of aspect, mirrored or not; without: the centre of the image scaled.
    """
    checked = BATCHES_AHEAD * batch_size
    _require_regular(decoder.root, files[:checked])
    gpu = None if device == "cpu" else torch.device(device).index or 0
    pipeline = _pipeline(
        decoder,
        files,
        seed is not None,
        "cpu" if gpu is None else "mixed",
        batch_size=batch_size,
        num_threads=decoder.workers,
        device_id=gpu,
        seed=seed or 0,
        exec_dynamic=False,  # with the dynamic executor every pipeline leaves its buffers behind
    )
    # what the labels of DALI's reader carry is the position in the list, so nothing can lose its place
    served = DALIClassificationIterator(
        [pipeline], reader_name="files", last_batch_policy=LastBatchPolicy.PARTIAL
    )
    for [batch] in served:
        yield batch["data"].permute(0, 3, 1, 2), batch["label"].flatten().long().cpu()
        _require_regular(decoder.root, files[checked : checked + batch_size])
        checked += batch_size


def _require_regular(root: Path, files: Sequence[str]) -> None:
    """Raise RuntimeError, as DALI does for what it cannot read, if one is a pipe: it would wait for ever."""
    for name in files:
        if not os.path.isfile(f"{root}/{name}"):
            raise RuntimeError(f"{name}: no regular file")


@pipeline_def
def _pipeline(decoder: Decoder, files: Sequence[str], training: bool, device: str):
    encoded, positions = fn.readers.file(
        file_root=str(decoder.root), files=list(files), labels=list(range(len(files))), name="files"
    )
    # pixels as they are stored, as torchvision has them, whatever EXIF says of their orientation
    options = {"device": device, "output_type": types.RGB, "adjust_orientation": False}
    if training:
        images = fn.decoders.image_random_crop(
            encoded,
            **options,
            random_area=[0.1, 1.0],
            random_aspect_ratio=[0.8, 1.25],
        )
        images = fn.resize(images, size=[decoder.crop, decoder.crop])
        mirror = fn.random.coin_flip()
    else:
        images = fn.decoders.image(encoded, **options)
        images = fn.resize(images, resize_shorter=decoder.resize)
        mirror = 0
    inputs = fn.crop_mirror_normalize(
        images,
        crop=(decoder.crop, decoder.crop),
        mirror=mirror,
        dtype=types.FLOAT,
        output_layout="HWC",
        mean=(255 * np.atleast_1d(decoder.mean)).tolist(),
        std=(255 * np.atleast_1d(decoder.std)).tolist(),
    )
    return inputs, positions

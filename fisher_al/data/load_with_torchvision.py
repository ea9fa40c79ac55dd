"""Images through Pillow and torchvision's transforms: slower than DALI, and everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from fisher_al.data.folder_images import Decoder
from fisher_al.data.pixels import as_rgb
from fisher_al.seeds import derive_seed


class _Files(Dataset):
    """The named files as (input, position)."""

    def __init__(self, decoder: Decoder, files: Sequence[str], seed: int | None):
        self._root, self._files, self._seed = decoder.root, files, seed
        crop = decoder.crop
        if seed is None:
            shape = [v2.Resize(decoder.resize), v2.CenterCrop(crop)]
        else:
            shape = [
                v2.RandomResizedCrop(crop, scale=(0.1, 1.0), ratio=(0.8, 1.25)),
                v2.RandomHorizontalFlip(),
            ]
        self._transform = v2.Compose(
            [*shape, v2.ToDtype(torch.float32, scale=True), v2.Normalize(decoder.mean, decoder.std)]
        )

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        path = self._root / self._files[position]
        try:
            if not path.is_file():  # reading a pipe would wait for ever
                raise FileNotFoundError("no regular file")
            with Image.open(path) as image:
                pixels = v2.functional.pil_to_tensor(as_rgb(image))
        except Exception as error:  # Pillow raises whatever a broken file leads its decoders to
            raise RuntimeError(f"{self._files[position]}: {error}") from None
        with torch.random.fork_rng(devices=[]):  # the same crop whichever worker makes it
            if self._seed is not None:
                torch.manual_seed(derive_seed(self._seed, position))
            return self._transform(pixels), position


def load(
    decoder: Decoder, files: Sequence[str], batch_size: int, device: str, seed: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (inputs, positions in `files`) of every batch, as `Decoder.load` has it.

    Crops as `fisher_al.data.load_with_dali.load` has them, by other random numbers.
    """
    loader = DataLoader(
        _Files(decoder, files, seed),
        batch_size,
        num_workers=decoder.workers,
        pin_memory=device != "cpu",
        generator=torch.Generator(),
    )
    for inputs, positions in loader:
        yield inputs.to(device, memory_format=torch.channels_last, non_blocking=True), positions

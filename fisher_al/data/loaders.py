"""What decodes image files, by name."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from fisher_al.data.folder_images import Load


# Imported where they are used, as that takes seconds.
def _load_with_dali(*request: object) -> Iterator[tuple[Tensor, Tensor]]:
    from fisher_al.data.load_with_dali import load

    return load(*request)  # type: ignore[arg-type]


def _load_with_torchvision(*request: object) -> Iterator[tuple[Tensor, Tensor]]:
    from fisher_al.data.load_with_torchvision import load

    return load(*request)  # type: ignore[arg-type]


LOADERS: dict[str, Load] = {"dali": _load_with_dali, "torchvision": _load_with_torchvision}

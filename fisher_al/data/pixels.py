"""Pixels of image files through Pillow: 8-bit RGB, the same as DALI decodes."""

from __future__ import annotations

import numpy as np
from PIL import Image

# Pillow refuses more than twice as many, by default from 179 million on, which DALI decodes.
Image.MAX_IMAGE_PIXELS = 2**29


def has_deep_pixels(image: Image.Image) -> bool:
    """Whether the pixels have 32 bits: DALI fails at such files or makes them white, so that none is read."""
    return image.mode == "F" or (image.mode == "I" and image.format != "PPM")


def as_rgb(image: Image.Image) -> Image.Image:
    """An opened image in 8-bit RGB.

    Raises: ValueError if its pixels have 32 bits; whatever Pillow does where the file is broken.
    """
    if has_deep_pixels(image):
        raise ValueError("its pixels have 32 bits, which not every loader decodes")
    if image.mode.startswith("I"):  # I, I;16, I;16B: Pillow would clip 16 bits instead of scaling them
        shallow = np.asarray(image).astype(np.float32) / 257
        image = Image.fromarray(shallow.round().astype(np.uint8))
    return image.convert("RGB")

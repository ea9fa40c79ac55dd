"""Pixels of image files through Pillow: 8-bit RGB, the same as DALI decodes."""

from __future__ import annotations

import numpy as np
from PIL import ExifTags, Image

# Pillow refuses more than twice as many, by default from 179 million on, which DALI decodes.
Image.MAX_IMAGE_PIXELS = 2**29

ORIENTATION = ExifTags.Base.Orientation

# From upright pixels to those that are stored, by the tag.
TURNS_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def has_deep_pixels(image: Image.Image) -> bool:
    """Whether the pixels have 32 bits: DALI fails at such files or makes them white, so that none is read."""
    return image.mode == "F" or (image.mode == "I" and image.format not in ("PPM", "PNG"))


def as_rgb(image: Image.Image) -> Image.Image:
    """An opened image in 8-bit RGB, turned as it is stored, with the tag that says how it would be upright.

    Raises: ValueError if its pixels have 32 bits; whatever Pillow does where the file is broken.
    """
    if has_deep_pixels(image):
        raise ValueError("its pixels have 32 bits, which not every loader decodes")
    turned = image.getexif().get(ORIENTATION) if image.format == "TIFF" else None
    if image.mode.startswith("I"):  # I, I;16, I;16B: Pillow would clip 16 bits instead of scaling them
        shallow = np.asarray(image).astype(np.float32) / 257
        image = Image.fromarray(shallow.round().astype(np.uint8))
    rgb = image.convert("RGB")
    if turned not in TURNS_BACK:
        return rgb
    stored = rgb.transpose(TURNS_BACK[turned])  # Pillow turns these upright while it reads them
    stored.getexif()[ORIENTATION] = turned
    return stored

"""Pixels of image files through Pillow: 8-bit RGB, the same as DALI decodes."""

from __future__ import annotations

import numpy as np
from PIL import ExifTags, Image

# Pillow refuses more than twice as many, by default from 179 million on, which DALI decodes.
Image.MAX_IMAGE_PIXELS = 2**29

# Grey with alpha, of which DALI makes colours, and CIE L*a*b*.
ODD_TIFFS = "LA", "LAB"

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


def why_misread(image: Image.Image) -> str:
    """Why DALI would fail at an opened image, or show other pixels; "" if it does not."""
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PPM", "PNG")):
        return "its pixels have 32 bits"
    return f"it is a TIFF of mode {image.mode}" if image.format == "TIFF" and image.mode in ODD_TIFFS else ""


def as_rgb(image: Image.Image) -> Image.Image:
    """An opened image in 8-bit RGB, turned as it is stored, with the tag that says how it would be upright.

    Raises: ValueError if DALI would misread it; whatever Pillow does where the file is broken.
    """
    if reason := why_misread(image):
        raise ValueError(f"{reason}, which not every loader decodes")
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

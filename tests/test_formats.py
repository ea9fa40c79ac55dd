"""Every format and depth of image files: both loaders show the same, or none reads it."""

import os
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from folders import folder_experiment, load_prepared, make_folder
from PIL import ExifTags, Image

from fisher_al.data.folder_images import Decoder
from fisher_al.data.folder_lists import unreadable
from fisher_al.data.loaders import LOADERS
from fisher_al.errors import MachineError, UserError
from fisher_al.files.layout import Layout

SIDE = 64
DOWN, ACROSS = np.mgrid[0:SIDE, 0:SIDE]
GREY = (DOWN + 3 * ACROSS).astype(np.uint8)  # up to 252
DEEP = GREY.astype(np.uint16) * 257
RGB = np.dstack([GREY, 255 - GREY, np.full_like(GREY, 60)])
RGBA = np.dstack([RGB, np.full_like(GREY, 255)])

FORMATS = {
    "rgb.jpg": (RGB, "RGB", {"quality": 95}),
    "progressive.jpg": (RGB, "RGB", {"quality": 95, "progressive": True}),
    "cmyk.jpg": (RGB, "CMYK", {"quality": 95}),
    "grey.jpg": (GREY, "L", {"quality": 95}),
    "rgb.png": (RGB, "RGB", {}),
    "rgba.png": (RGBA, "RGBA", {}),
    "palette.png": (RGB, "P", {}),
    "grey.png": (GREY, "L", {}),
    "grey alpha.png": (RGBA, "LA", {}),
    "grey 16.png": (DEEP, None, {}),
    "1 bit.png": (GREY, "1", {}),
    "rgb.bmp": (RGB, "RGB", {}),
    "palette.bmp": (RGB, "P", {}),
    "grey.bmp": (GREY, "L", {}),
    "rgb.tif": (RGB, "RGB", {}),
    "rgba.tif": (RGBA, "RGBA", {}),
    "palette.tif": (RGB, "P", {}),
    "cmyk.tif": (RGB, "CMYK", {}),
    "grey.tif": (GREY, "L", {}),
    "grey 16.tif": (DEEP, None, {}),
    "lzw.tif": (RGB, "RGB", {"compression": "tiff_lzw"}),
    "deflate.tif": (RGB, "RGB", {"compression": "tiff_deflate"}),
    "rgb.webp": (RGB, "RGB", {"quality": 95}),
    "lossless.webp": (RGB, "RGB", {"lossless": True}),
    "rgb.jp2": (RGB, "RGB", {}),
    "grey.jp2": (GREY, "L", {}),
    "grey 16.jp2": (DEEP, None, {}),
    "rgb.ppm": (RGB, "RGB", {}),
    "grey.pgm": (GREY, "L", {}),
    "grey 16.pgm": (DEEP, None, {}),
}


def write(folder, name):
    pixels, mode, options = FORMATS[name]
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(folder / name, **options)


def decoded(folder, name, loader):
    """Pixels (3, 56, 56) from 0 to 255 of the centre, as the loader has them."""
    decoder = Decoder(
        folder, 56, 64, LOADERS[loader], (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 1
    )  # 64 x 64 is not resized
    [(inputs, _)] = decoder.load(decoder, [name], 1, "cpu", None)
    return 255 * inputs[0]


@pytest.mark.parametrize("name", FORMATS)
def test_both_loaders_show_the_same(name, tmp_path):
    write(tmp_path, name)
    assert unreadable(tmp_path / name) is None
    seen = [decoded(tmp_path, name, loader) for loader in ("dali", "torchvision")]
    assert (seen[0] - seen[1]).abs().mean() < 1.5
    pixels, mode, _ = FORMATS[name]
    if mode not in ("1", "P", "LA"):  # which dither, choose few colours, or weigh them
        drawn = RGB if pixels.ndim == 3 else np.dstack([GREY] * 3)
        expected = torch.from_numpy(drawn[4:-4, 4:-4]).permute(2, 0, 1).float()
        assert (seen[1] - expected).abs().mean() < 4


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("turned", range(1, 9))
def test_no_loader_turns_a_tiff_upright(turned, loader, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turned
    Image.fromarray(RGB).save(tmp_path / "x.tif", exif=exif)
    expected = torch.from_numpy(RGB[4:-4, 4:-4].copy()).permute(2, 0, 1).float()
    assert (decoded(tmp_path, "x.tif", loader) - expected).abs().max() < 1


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (Image.fromarray(GREY.astype(np.float32)), "32 bits"),
        (Image.fromarray(GREY.astype(np.int32)), "32 bits"),
        (Image.fromarray(GREY).convert("LA"), "TIFF of mode LA"),
        (Image.merge("LAB", Image.fromarray(RGB).split()), "TIFF of mode LAB"),
    ],
)
def test_a_tiff_that_dali_misreads_is_refused_or_left_out(image, told, tmp_path):
    root = make_folder(tmp_path / "pets")
    path = root / "train" / "bee" / "bee 99.tif"
    image.save(path)
    assert told in unreadable(path)
    layout = Layout(tmp_path / "data" / "pets", "run0", 1.0)
    with pytest.raises(
        UserError, match=r"bee 99\.tif: not an image that every loader reads; .*--skip-corrupt"
    ):
        load_prepared(folder_experiment(root, tmp_path / "data"), layout)
    data = load_prepared(folder_experiment(root, tmp_path / "data", "--skip-corrupt"), layout)
    assert len(data.pool) == 48
    assert (layout.folder / "processed" / "skipped.txt").read_text() == "train/bee/bee 99.tif\n"


def test_images_as_large_as_dali_decodes_are_readable(tmp_path):
    Image.new("1", (13_500, 13_500)).save(tmp_path / "large.png")  # above 179 million pixels
    assert unreadable(tmp_path / "large.png") is None


def test_no_image_is_left_out_for_want_of_memory(tmp_path, monkeypatch):
    write(tmp_path, "rgb.png")
    monkeypatch.setattr("fisher_al.data.folder_lists.as_rgb", Mock(side_effect=MemoryError()))
    with pytest.raises(MachineError, match=r"rgb\.png: cannot be read now"):
        unreadable(tmp_path / "rgb.png")


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    root = make_folder(tmp_path / "pets")
    os.mkfifo(root / "train" / "cat" / "cat 99.jpg")  # reading it would wait for ever
    layout = Layout(tmp_path / "data" / "pets", "run0", 1.0)
    with pytest.raises(UserError, match=r"cat 99\.jpg: not an image"):
        load_prepared(folder_experiment(root, tmp_path / "data"), layout)
    assert len(load_prepared(folder_experiment(root, tmp_path / "data", "--skip-corrupt"), layout).pool) == 48

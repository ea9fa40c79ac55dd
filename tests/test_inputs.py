"""Images as networks get them, and what tells apart where they come from."""

import os

import numpy as np
import pytest
import torch
from folders import folder_experiment, load_prepared, make_folder
from PIL import Image
from rounds import (
    CROP,
    make_animals,
    save_weights,
)
from test_feature_cache import paths_in, reading

from fisher_al.data.folder_lists import find_classes, scan_split
from fisher_al.data.images import Images
from fisher_al.data.pixels import as_rgb
from fisher_al.errors import UserError
from fisher_al.files.layout import Layout
from fisher_al.labeling import embedding
from fisher_al.labeling.backbone import load_backbone
from fisher_al.labeling.cache import identity_of, open_cache
from fisher_al.labeling.embedding import embed
from fisher_al.labeling.round import Reading
from fisher_al.method.tapped import POOLED


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_weights(tmp_path_factory.mktemp("w") / "weights.pt")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return load_backbone("resnet18", save_weights(tmp_path_factory.mktemp("w") / "weights.pt"), CROP, 40)


def test_an_image_is_known_by_its_size(tmp_path):
    path = tmp_path / "x"
    seen = set()
    for content in (b"a", b"ab"):
        path.write_bytes(content)
        os.utime(path, ns=(5, 5))
        seen.add(identity_of(path))
    assert len(seen) == 2


def test_crops_have_a_folder_each(weights, tmp_path):
    several = [load_backbone("resnet18", weights, crop, 48) for crop in (CROP, 48)]
    how = ("torchvision", 1, "cpu", 1, tmp_path, {POOLED: 512})
    assert len({Reading(one, *how).identity for one in several}) == 2


def test_inputs_are_normalised_as_the_weights_want(weights):
    one = load_backbone("resnet18", weights, CROP)
    assert (one.mean, one.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(("crop", "resize", "expected"), [(None, None, 256), (32, None, 37), (64, 48, 64)])
def test_sides_of_the_resized_image(weights, crop, resize, expected):
    assert load_backbone("resnet18", weights, crop, resize).resize == expected


def test_images_of_folders_are_resized_around_the_crop(tmp_path):
    assert folder_experiment(make_folder(tmp_path / "pets"), tmp_path).source.decoder.resize == 37


def test_colour_images_stand_as_they_are():
    pixels = torch.arange(2 * 3 * 4 * 3, dtype=torch.uint8).view(2, 3, 4, 3)
    inputs, _ = Images(pixels, None, (0.0,) * 3, (1.0,) * 3)[:]
    assert torch.equal((255 * inputs).round().byte(), torch.stack([pixels[..., c] for c in range(3)], 1))


def test_white_of_16_bits_is_white():
    white = Image.fromarray(np.full((2, 2), 65535, np.uint16))
    assert as_rgb(white).getpixel((0, 0)) == (255, 255, 255)


def test_what_only_pillow_decodes_is_embedded(backbone, tmp_path):
    make_animals(tmp_path, 1, 1)
    Image.new("1", (60, 40)).save(tmp_path / "pool" / "bits.tif")
    with open_cache(tmp_path / "cache", "net", 512) as cache:
        embedder = reading(backbone, tmp_path, "dali").embedder()
        rows, reasons = embed(embedder, paths_in(tmp_path / "pool"), cache)
    assert reasons == {}
    assert len(set(rows.tolist())) == 4


def test_what_was_computed_before_an_interruption_is_kept(backbone, tmp_path, monkeypatch):
    def interrupted(embedder, paths):
        yield paths[:2], torch.ones(2, 512)
        raise KeyboardInterrupt

    make_animals(tmp_path, 1, 1)
    monkeypatch.setattr(embedding, "features_of", interrupted)
    with open_cache(tmp_path / "cache", "net", 512) as cache, pytest.raises(KeyboardInterrupt):
        embed(reading(backbone, tmp_path).embedder(), paths_in(tmp_path / "pool"), cache)
    assert len(cache.row_of) == 2


def test_folders_without_classes_or_images_are_told(tmp_path):
    (tmp_path / "train" / "ant").mkdir(parents=True)
    with pytest.raises(UserError, match="at least two are needed"):
        find_classes(tmp_path)
    with pytest.raises(UserError, match="no images in it; put them into train/<class>/"):
        scan_split(tmp_path, "train", ["ant"])


def test_loading_draws_no_random_number(tmp_path):
    experiment = folder_experiment(make_folder(tmp_path / "pets"), tmp_path, "--loader", "torchvision")
    pool = load_prepared(experiment, Layout(tmp_path / experiment.name, "run0", 1.0)).pool
    before = torch.get_rng_state()
    list(pool.augmented([torch.arange(4)], 1))
    assert torch.equal(torch.get_rng_state(), before)

"""Descriptors of several layers in `fisher-al pick`, against the same network on the images themselves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from rounds import CROP, save_image, save_weights, write_csv
from torch import nn

from fisher_al import Images, Tapped, UserError, pick_images
from fisher_al.data.features import Features
from fisher_al.labeling.backbone import load_backbone
from fisher_al.labeling.catalogue import read_catalogue
from fisher_al.labeling.deeper import Deeper, widths_of
from fisher_al.labeling.round import Reading, known_images
from fisher_al.labeling.selection import Strategy, fit, pick
from fisher_al.method.question import question_on_features

LAYERS = ("layer3", "pooled")
WIDTHS = {"layer3": 256, "pooled": 512}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """What is known, the head, and the images for deeper layers: of noise that no head tells apart."""
    folder = tmp_path_factory.mktemp("noise")
    for i in range(30):
        save_image(folder / "pool" / f"{i:02}.png", seed=i)
    for i in range(15):
        save_image(folder / "validation" / f"class {i % 3}" / f"{i:02}.png", seed=100 + i)
    answers = [(f"{i:02}.png", f"class {i % 3}") for i in range(6)]
    write_csv(folder / "labels.csv", ("filepath", "label"), answers)
    backbone = load_backbone("resnet18", save_weights(folder / "weights.pt"), CROP, resize=42)
    widths = widths_of(backbone, LAYERS)
    assert widths == WIDTHS
    reading = Reading(backbone, "torchvision", 1, "cpu", 1, folder / "features", widths)
    catalogue = read_catalogue(folder / "pool", folder / "validation", (folder / "labels.csv",))
    readable, known = known_images(catalogue, reading)
    deeper = reading.deeper(readable, folder / "descriptors.pt")
    assert deeper is not None
    return known, fit(known, Strategy("gradFmap", 8, hold_validation=True)), deeper


@pytest.mark.parametrize("method", ["none", "grad", "gradFmap", "gradGmap"])
def test_picks_are_those_of_the_whole_network(case, method):
    known, fitted, deeper = case
    module = torchvision.models.resnet18()
    module.load_state_dict(deeper.backbone.module.state_dict())
    module.fc = fitted.head.linear

    def images(paths, labels):
        centre = (12, 5, 12 + CROP, 5 + CROP)  # of 56 x 42
        pixels = np.stack([np.asarray(Image.open(path).crop(centre)) for path in paths])
        return Images(torch.from_numpy(pixels), labels, deeper.backbone.mean, deeper.backbone.std)

    matchable = (~known.spared).nonzero().squeeze(1)
    validation = images([deeper.validation[i] for i in matchable], known.validation_labels[matchable])
    expected = pick_images(
        Tapped(module, WIDTHS, "fc"),
        images(deeper.pool, torch.zeros(30, dtype=torch.long)),
        validation,
        8,
        method,
        scales=LAYERS,
        labeled=known.labeled,
    )
    strategy = Strategy(method, 8, hold_validation=True)
    found = pick(known, fitted, strategy, deeper)
    assert found.positions.tolist() == expected.tolist()
    assert found.positions.tolist() != pick(known, fitted, strategy).positions.tolist()
    assert not known.spared[found.matched].any()
    assert not deeper.scratch.exists()


def test_the_head_is_not_moved_to_the_device_of_the_images(case):
    known, fitted, deeper = case
    features = Features(known.rows, known.validation, known.validation_labels)
    iteration = question_on_features(fitted.head, known.pool_images, features, 8, seed=0)
    network = deeper.look_deeper(iteration, fitted.head, torch.arange(3)).load_network(0)
    assert torch.equal(network.get_submodule("module.fc").weight, fitted.head.linear.weight)
    assert fitted.head.linear not in network.modules()


def test_images_are_described_once_however_many_near_duplicates_are_passed_over(case, monkeypatch):
    known, fitted, deeper = case
    looks = []
    look = Deeper.look_deeper
    monkeypatch.setattr(Deeper, "look_deeper", lambda *them: looks.append(1) or look(*them))
    directions = torch.nn.functional.normalize(torch.from_numpy(known.rows.copy()), dim=1)
    median = (directions @ directions.T).median().item()
    found = pick(known, fitted, Strategy("gradFmap", 8, True, near_duplicate=median), deeper)
    assert len(found.near_duplicates) > 0
    assert len(looks) == 1


class Odd(nn.Module):
    """Layers that give tokens, also all in a row, maps with channels last or of one channel, and a list."""

    def __init__(self):
        super().__init__()
        self.tokens, self.last, self.several = nn.Identity(), nn.Identity(), SplitInTwo()
        self.mask, self.rows = nn.Conv2d(3, 1, 1), nn.Identity()
        self.flat, self.fc = nn.Flatten(), nn.Linear(3 * CROP**2, 2)

    def forward(self, images):
        self.tokens(images.flatten(2).transpose(1, 2))
        self.last(images.permute(0, 2, 3, 1))
        self.several(images)
        self.mask(images)
        self.rows(images.flatten(2).transpose(1, 2).flatten(0, 1))
        return self.fc(self.flat(images))


class SplitInTwo(nn.Module):
    def forward(self, images):
        return list(images.chunk(2))


def test_layers_whose_channels_do_not_come_first_are_refused(case):
    backbone = replace(case[2].backbone, module=Odd())
    assert widths_of(backbone, ("flat",)) == {"flat": 3 * CROP**2}
    for name in ("tokens", "last", "several", "mask", "rows"):
        with pytest.raises(UserError, match=f"--scales {name}: this layer gives no channels"):
            widths_of(backbone, (name, "pooled"))

"""A network of one's own, by the names of its layers: through the scripts, and on arrays."""

from collections import OrderedDict
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import call
from torch import nn

from fisher_al import METHODS, Images, Tapped, UserError, pick_images
from fisher_al.commands.scripts import Datasets
from fisher_al.experiment import parse_method
from fisher_al.files.layout import Layout
from fisher_al.method import fisher_kernel
from fisher_al.method.network import TappedNetwork, no_dropout, untapped
from fisher_al.method.predictions import predict
from fisher_al.method.submodular import gradient_directions
from fisher_al.method.views import draw_views
from mnist.custom_datasets.digits import read_digits
from mnist.experiment import DIGITS


def small_network(num_classes):
    layers = {
        "stem": nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4)),
        "relu": nn.ReLU(inplace=True),
        "block": nn.Sequential(nn.Conv2d(4, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU6(inplace=True)),
        "pool": nn.AdaptiveAvgPool2d(1),
        "flat": nn.Flatten(),
        "dropout": nn.Dropout(0.5),
        "classifier": nn.Linear(8, num_classes),
    }
    return Tapped(nn.Sequential(OrderedDict(layers)), {"stem": 4, "block": 8, "pooled": 8}, "classifier")


SMALL = replace(
    DIGITS,
    source=replace(DIGITS.source, name="SMALL"),
    network=small_network,
    lengths={20: ("stem", "block", "pooled"), 8: ("pooled",)},
    default_length=20,
    methods=("varMC", "gradFmap/20"),
)


@pytest.mark.parametrize("token", ["gradFmap", "varMC"])
def test_stages_with_another_network(tmp_path, token):
    def small(script, *arguments):
        common = ("--datadir", tmp_path, "-r", "run0", "-ir", 10, "--epochs", 1)
        outcome = call(script, *common, *arguments, datasets=Datasets({"SMALL": SMALL}))
        assert outcome.code == 0, outcome.err

    small("unsup.py")
    first = 0
    if token == "varMC":  # picks at random at batch 0
        small("main_descr.py", "-sub", token, "-as", 10, "-b", 0)
        first = 1
    step = ("-sub", token, "-as", 10, "-b", first, "-smp", 4)
    small("gen_descr.py", *step)
    small("main_descr.py", *step)

    layout, method = Layout(tmp_path / "SMALL", "run0", 10.0), parse_method(token, SMALL)
    pool_size = len(torch.load(layout.pool(), weights_only=True)[1])
    described = torch.load(layout.descriptors("train", method), weights_only=True)
    assert described.shape == ((pool_size,) if token == "varMC" else (pool_size, 20, 2))
    assert torch.isfinite(described).all()
    assert len(described.unique(dim=0)) > 1
    size = 10 * (first + 1)
    assert len(np.unique(np.load(layout.index_list(method, first + 1, size)))) == size
    trained = torch.load(layout.best_checkpoint(method, first + 1, size), weights_only=True)["state_dict"]
    assert trained["module.classifier.weight"].shape == (10, 8)
    pretrained = torch.load(layout.initial_checkpoint(), weights_only=True)["state_dict"]
    assert pretrained["module.classifier.weight"].shape == (4, 8)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """A pool whose labels nobody knows, and a validation set."""
    raw = read_digits(tmp_path_factory.mktemp("digits"))
    statistics = DIGITS.source.mean, DIGITS.source.std
    pool = Images(raw.train_images[:200], None, *statistics)
    return pool, Images(raw.test_images[:60], raw.test_labels[:60], *statistics)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return small_network(10)


def without_the_oracle():
    return [name for name, method in METHODS.items() if method.works_unlabeled]


@pytest.mark.parametrize("method", without_the_oracle())
def test_picks_on_arrays_are_unlabeled_and_repeat(method, sets, network):
    labeled = torch.arange(0, 200, 3)
    pool, validation = copy(sets[0]), sets[1]
    pool.labels = pool.labels.clone()
    pool.labels[labeled] = labeled % 10

    def picked():
        return pick_images(network, pool, validation, 12, method, labeled=labeled, mc_samples=4)

    picks = picked()
    assert len(picks.unique()) == 12
    assert not torch.isin(picks, labeled).any()
    assert torch.equal(picked(), picks)


def test_picks_on_arrays_match_by_double_loop(sets, network):
    """R_z alone, with as many labels as targets: the nearest of every target first, then the next ones."""
    pool, validation = sets
    targets = (predict(network, validation) != validation.labels).nonzero().squeeze(1).tolist()

    def features(images):
        seen = {}
        with torch.no_grad():
            network.eval().double()(images[:][0].double(), lambda name, a: seen.setdefault(name, a))
        network.float()
        rows = seen["block"].mean((2, 3))
        return (rows - rows.mean(1, keepdim=True)) / (rows.std(1, keepdim=True) + 1e-10)

    of_pool, of_validation = features(pool), features(validation)
    ranked = []
    for target in targets:
        similarity = [float(of_validation[target] @ row) for row in of_pool]
        ranked.append(sorted(((s, i) for i, s in enumerate(similarity)), reverse=True))
    walk = [pair for rank in zip(*ranked, strict=True) for pair in sorted(rank, reverse=True)]
    expected = list(dict.fromkeys(index for _, index in walk))[: len(targets)]
    assert pick_images(network, pool, validation, len(targets), "none", scales=["block"]).tolist() == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": 201}, "budget 201: only 200 images"),
        ({"budget": 5, "labeled": torch.arange(196)}, "budget 5: only 4 images"),
        ({"budget": 5, "labeled": torch.tensor([200])}, "labeled: 200 is no row of 200"),
        ({"budget": 5, "labeled": torch.tensor([-1])}, "labeled: -1 is no row of 200"),
        (
            {"budget": 5, "method": "balanced", "labeled": torch.arange(2)},
            "method 'balanced': needs the labels of the labeled images",
        ),
        ({"budget": 5, "method": "fisher"}, "unknown method 'fisher': choose from random, varMC"),
        ({"budget": 5, "method": "vaal"}, "unknown method 'vaal'"),
        ({"budget": 5, "method": "gradAbl"}, "method 'gradAbl': needs the labels of the pool"),
        ({"budget": 5, "method": "galaxy"}, "method 'galaxy': needs the labels of the pool"),
        ({"budget": 5, "method": "train-on-validation"}, "unknown method 'train-on-validation'"),
        ({"budget": 5, "scales": ["layer3"]}, "unknown scale 'layer3': the network has stem, block, pooled"),
        ({"budget": 5, "scales": "layer3"}, "unknown scale 'layer3': the network has stem, block, pooled"),
        ({"budget": 5, "mc_samples": 0}, "mc_samples 0: has to be a whole number, 1 or more"),
        ({"budget": 5, "batch_size": 0}, "batch_size 0: has to be"),
        ({"budget": 5, "scales": []}, "method 'gradFmap': needs at least one scale of stem, block, pooled"),
    ],
)
def test_wrong_requests_are_told(arguments, message, sets, network):
    with pytest.raises(UserError, match=message):
        pick_images(network, *sets, **arguments)


def test_validation_images_need_labels(sets, network):
    pool, _ = sets
    with pytest.raises(UserError, match="validation: no images, or without labels"):
        pick_images(network, pool, pool, 5)


def test_labels_that_the_network_does_not_know_are_told(sets, network):
    pool, validation = sets
    beyond = Images(validation[:][0][:, 0], torch.full((len(validation),), 10), 0.5, 0.5)
    with pytest.raises(UserError, match="validation: has label 10, but the network knows 0 to 9"):
        pick_images(network, pool, beyond, 5)
    with pytest.raises(UserError, match="pool: has label 10, but the network knows 0 to 9"):
        pick_images(network, beyond, validation, 5, method="gradAbl")


def test_channels_that_do_not_come_last_are_told():
    pixels = torch.zeros(4, 3, 28, 28, dtype=torch.uint8)
    for mean, std in (((0.5,) * 3, 0.5), (0.5, (0.5,) * 3)):
        with pytest.raises(UserError, match=r"28 channels, but mean .* channels come last"):
            Images(pixels, None, mean, std)
    assert Images(pixels.permute(0, 2, 3, 1), None, (0.5,) * 3, (0.5,) * 3)[:][0].shape == (4, 3, 28, 28)


def test_a_network_without_scales_and_sets_that_do_not_fit(sets):
    pixels = torch.zeros(4, 28, 28, dtype=torch.uint8)
    with pytest.raises(UserError, match=r"Linear: names no scales; wrap it as Tapped"):
        pick_images(nn.Linear(2, 2), *sets, 5)
    for labels in (torch.zeros(3), torch.zeros(4, 1)):
        with pytest.raises(UserError, match=r"images \(4, 28, 28\) and labels .* belong together"):
            Images(pixels, labels, 0.5, 0.5)
    assert Images(pixels, torch.zeros(4, dtype=torch.int32), 0.5, 0.5).labels.dtype == torch.long
    with pytest.raises(UserError, match="validation: no images"):
        pick_images(small_network(10), sets[0], Images(pixels[:0], torch.zeros(0), 0.5, 0.5), 5)


def test_as_many_views_are_drawn_as_asked_for(sets, network, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        fisher_kernel, "draw_views", lambda count, *rest: drawn.append(count) or draw_views(count, *rest)
    )
    pick_images(network, *sets, 5, "cor", labeled=[1, 2], mc_samples=3)  # a list will do
    assert drawn == [3]


class Perceptron(TappedNetwork):
    """One whose hidden activation is a vector."""

    scales, head, closed_form_scales = {"hidden": 20}, "top", frozenset()

    def __init__(self):
        super().__init__()
        self.bottom, self.top = nn.Linear(784, 20), nn.Linear(20, 10, bias=False)

    def below_dropout(self, images):
        return self.bottom(images.flatten(1)).relu()

    def above_dropout(self, hidden, tap=untapped, dropout=no_dropout):
        return self.top(dropout(tap("hidden", hidden), 0.5))


@pytest.mark.parametrize("method", ["varMC", "gradFmap", "similar"])
def test_a_network_of_vectors_without_a_bias(method, sets):
    torch.manual_seed(0)
    network = Perceptron()
    assert len(pick_images(network, *sets, 5, method, mc_samples=3).unique()) == 5
    if method == "similar":
        residual, feature = gradient_directions(network, sets[0], 64)
        for i, j in ((0, 1), (5, 9)):
            one, other = (_gradient(network, sets[0][torch.tensor([k])][0]) for k in (i, j))
            cosine = F.cosine_similarity(one, other, 0)
            assert (residual[i] @ residual[j]) * (feature[i] @ feature[j]) == pytest.approx(
                cosine.item(), abs=1e-5
            )


def _gradient(network, image):
    logits = network(image)
    loss = F.cross_entropy(logits, logits.argmax(1))
    return torch.autograd.grad(loss, network.top.weight)[0].flatten()


def test_the_network_is_left_as_it_was(sets, network):
    network.train()
    pick_images(network, *sets, 5)
    assert all(module.training for module in network.modules())
    assert all(weight.requires_grad for weight in network.parameters())

"""Methods, readers and networks of one's own that do not fit the protocol that they are given to."""

from dataclasses import dataclass, replace

import pytest
import torch
from conftest import call
from folders import make_folder

from fisher_al.chain import Chain
from fisher_al.commands.options import DataOptions
from fisher_al.commands.scripts import Datasets, parse
from fisher_al.experiment import parse_method
from fisher_al.method.baselines import RandomPicks
from fisher_al.stages.main_descr import select
from imagenet.experiment import DATASETS, IMAGENET
from mnist.experiment import DIGITS


@dataclass(frozen=True)
class Wrong(RandomPicks):
    """Picks fewer than the budget, or what is labeled already."""

    picks: tuple[int, ...] = ()

    def pick(self, iteration, labeled, descriptors):
        return torch.tensor(self.picks)


@pytest.mark.parametrize("picks", [(5,), (5, 6, 7), (5, 5), (0, 5)])
def test_picks_are_as_many_new_images_as_the_budget(picks, layout):
    chain = Chain.by_protocol(DIGITS, layout, parse_method("random", DIGITS), budget=2)
    assert len(select(chain, 0, torch.arange(2))) == 2
    with pytest.raises(ValueError, match="has to pick 2 distinct unlabeled images"):
        select(replace(chain, method=Wrong(picks=picks)), 0, torch.arange(2))


def unsup(tmp_path, **changes):
    datasets = Datasets({"DIGITS": replace(DIGITS, **changes)})
    return call("unsup.py", "--dataset", "DIGITS", "--datadir", tmp_path, "--epochs", 0, datasets=datasets)


def test_what_a_reader_gives_is_checked_before_it_is_written(tmp_path):
    def read(folder):
        raw = DIGITS.source.read(folder)
        return replace(raw, test_labels=raw.test_labels.int())

    outcome = unsup(tmp_path, source=replace(DIGITS.source, read=read))
    assert outcome.code == 2
    assert "its reader gives test as torch.uint8 " in outcome.err
    assert "with torch.int32 labels" in outcome.err
    assert not [path for path in tmp_path.rglob("*.pt") if path.is_file()]


@pytest.mark.parametrize("lengths", [{25: ("conv1",)}, {10: ("convx",)}])
def test_lengths_are_sums_of_the_networks_scales(lengths, tmp_path):
    outcome = unsup(tmp_path, lengths=lengths)
    assert outcome.code == 2
    assert "is not the sum of the network's scales, which are conv1 10, conv2 20, fc1 50" in outcome.err


def test_two_networks_on_one_folder_have_results_of_their_own(tmp_path):
    root = make_folder(tmp_path / "pets")
    small = replace(IMAGENET, source=replace(IMAGENET.source, name="ImageNet-small"))
    datasets = replace(DATASETS, experiments={**DATASETS.experiments, "ImageNet-small": small})
    names = []
    for dataset in datasets.experiments:
        arguments = ["--dataset", dataset, "--datadir", tmp_path, "--imagenetdir", root]
        names.append(parse("", DataOptions, datasets, list(map(str, arguments)))[1].name)
    assert names == ["pets", "ImageNet-small-pets"]

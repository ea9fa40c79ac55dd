"""Several processes find what one finds, bit for bit, though the last may have no share of the last batch."""

from collections import OrderedDict

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing, nn

from fisher_al import METHODS, Images, Tapped
from fisher_al.method.question import descriptors_of, question

CLASSES, BATCH = 5, 16
PROCESSES = 2


def iteration():
    """On 34 images, by 16 or, with three passes each, by 5 at a time: none is left for the second process."""
    torch.manual_seed(0)
    layers = {
        "stem": nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU()),
        "block": nn.Sequential(nn.Conv2d(4, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU()),
        "pool": nn.AdaptiveAvgPool2d(1),
        "flat": nn.Flatten(),
        "dropout": nn.Dropout(0.5),
        "classifier": nn.Linear(6, CLASSES),
    }
    module = nn.Sequential(OrderedDict(layers)).eval()
    network = Tapped(module, {"stem": 4, "block": 6, "pooled": 6}, "classifier")
    pixels = torch.randint(0, 256, (2, 2 * BATCH + 2, 12, 12), dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (2, 2 * BATCH + 2))
    pool, validation = (Images(*part, (0.5,), (0.2,)) for part in zip(pixels, labels, strict=True))
    return question(
        network,
        pool,
        validation,
        budget=7,
        seed=3,
        num_classes=CLASSES,
        scales=("stem", "block", "pooled"),
        batch_size=BATCH,
        mc_samples=3,
    )


def found_by(name: str) -> list[Tensor]:
    """The descriptors of a method, and its picks."""
    method, labeled = METHODS[name], torch.arange(4)
    described = descriptors_of(method, iteration(), in_memory=True)
    tensors = [*described.pool, described.validation, method.pick(iteration(), labeled, described)]
    return [tensor for tensor in tensors if tensor is not None]


def work(rank: int, folder: str, names: list[str]) -> None:
    """What one of the processes does."""
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=PROCESSES)
    torch.save({name: found_by(name) for name in names}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


NAMES = [name for name, method in METHODS.items() if not (method.scripts or method.asks_nothing)]


@pytest.fixture(scope="module")
def of_both(tmp_path_factory):
    """What each of two processes found, by method."""
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.spawn(work, (str(folder), NAMES), nprocs=PROCESSES)
    return [torch.load(folder / f"{rank}.pt") for rank in range(PROCESSES)]


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_find_what_one_finds(name, of_both):
    alone = found_by(name)
    assert len(alone[-1].unique()) == 7
    for found in of_both:
        assert len(found[name]) == len(alone)
        for one, other in zip(alone, found[name], strict=True):
            assert torch.equal(one, other)

"""The rows of the benchmark: each piece of work by this project and by the plain version."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from plain import (
    PlainDataset,
    PlainLeNet,
    RotatedDataset,
    describe_by_nearest_label,
    k_centre,
    train,
    variation_ratio,
)

from fisher_al.method import acquisition
from fisher_al.stages.gen_descr import gen_descr
from fisher_al.stages.main_descr import main_descr
from fisher_al.stages.unsup import InitialModel, unsup
from mnist.experiment import MNIST


@dataclass
class Row:
    """One comparison; `plain` does `share` of the work that `ours` does, `published` are the paper code's
    seconds on another machine (2 cores of an AMD EPYC, AVX2)."""

    name: str
    ours: Callable[[], object]
    plain: Callable[[], object]
    share: float = 1.0
    published: float | None = None
    repeats: int = 1
    measures_memory: bool = False
    counts_plain: bool = False


def stage_rows(workshop):
    """Whole stages, files of descriptors and checkpoints included, each from the files of those before."""
    layout = workshop.layout()
    MNIST.source.prepare_pool(layout, 0)
    initial = InitialModel(MNIST, layout, 0, MNIST.pretraining, 0, "cpu")
    pool, test, validation = (
        MNIST.source.load_split(path)
        for path in (layout.pool(), layout.processed("test"), layout.processed("val-split"))
    )
    datasets = [PlainDataset(*split) for split in (pool, test, validation)]
    network = PlainLeNet()
    yield Row(
        "unsup.py (8 epochs)",
        lambda: unsup(initial),
        lambda: train(PlainLeNet(4), RotatedDataset(*pool), RotatedDataset(*test), 1, 25, 0.05),
        share=1 / 8,
        published=211,
    )
    ours, varmc, cor = (workshop.chain(token) for token in ("gradFmap/80", "varMC", "cor/20"))
    for chain in (ours, varmc):
        gen_descr(chain, 0)
        main_descr(chain, 0)
    yield Row(
        "gen_descr.py gradFmap/80",
        lambda: gen_descr(ours, 1),
        lambda: describe_by_nearest_label(network, datasets[0], datasets[2]),
        published=18.5,
        repeats=3,
    )
    yield Row(
        "AL iteration gradFmap/80 (gen_descr.py, main_descr.py, b = 1)",
        lambda: (gen_descr(ours, 1), main_descr(ours, 1)),
        lambda: tenth_of_a_plain_iteration(pool, validation, datasets[1]),
        share=0.1,
        published=157,
        repeats=3,
    )
    yield Row(
        "gen_descr.py varMC, K = 128",
        lambda: gen_descr(varmc, 1),
        lambda: variation_ratio(network, datasets[0], 8),
        share=8 / 128,
        published=286,
    )
    yield Row("gen_descr.py cor/20, K = 128", lambda: gen_descr(cor, 0), None, published=383)


def tenth_of_a_plain_iteration(pool, validation, test):
    """A tenth of the images described, and 5 of 50 epochs on 250 labels."""
    part, rest = (PlainDataset(images[::10], labels[::10]) for images, labels in (pool, validation))
    describe_by_nearest_label(PlainLeNet(), part, rest)
    train(PlainLeNet(), PlainDataset(pool[0][:250], pool[1][:250]), test, 5, 25, 0.05)


def acquisition_rows():
    """Picks from synthetic descriptors of the size of ImageNet's: 768 channels of z and 768 of g."""
    generator = torch.Generator().manual_seed(0)
    widths, targets, centres, pool, budget = (256, 512), 20_000, 1_250, 128_000, 6_400
    features = acquisition.kernel_features(torch.randn(targets, 768, 2, generator=generator), widths)
    some = 150
    yield Row(
        f"k-centre, {centres:,} of {targets:,}, 768 + 768 channels",
        lambda: acquisition.k_centre(features, centres, torch.Generator().manual_seed(0)),
        lambda: k_centre(features, some),
        share=(some / centres) ** 2,
        counts_plain=True,
    )
    descriptors = torch.randn(pool, 768, 2, generator=generator)
    chosen = features[:3_500]

    def kernel(part):
        return acquisition.kernel_features(part, widths)

    yield Row(
        f"matching, {pool:,} x {len(chosen):,}, 768 + 768 channels, A = {budget:,}",
        lambda: acquisition.match(chosen, descriptors, budget, features=kernel),
        lambda: torch.mm(chosen, descriptors.flatten(1).T),
        measures_memory=True,
    )

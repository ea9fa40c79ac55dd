"""Chains on real MNIST for the benchmarks, in a folder of their own."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from fisher_al.chain import Chain
from fisher_al.data.batches import EVALUATION_BATCH_SIZE
from fisher_al.files.layout import Layout
from fisher_al.method.registry import parse_method
from mnist.experiment import MNIST

DATA = Path(__file__).parents[1] / "local_data" / "MNIST"


@dataclass(frozen=True)
class Workshop:
    """A temporary copy of the data, and the chains that work in it."""

    folder: Path

    @classmethod
    def open(cls, folder):
        for part in ("raw", "processed"):
            if (DATA / part).is_dir():
                shutil.copytree(DATA / part, folder / part)
        return cls(folder)

    def layout(self, run="run0", ratio=100.0, pretrained=True):
        return Layout(self.folder, run, ratio, pretrained=pretrained)

    def chain(self, token, layout=None, **changes):
        """A chain by the protocol, apart from `changes`."""
        chain = Chain(
            experiment=MNIST,
            layout=layout or self.layout(),
            method=parse_method(token, MNIST),
            training=MNIST.training,
            iterations=MNIST.iterations,
            budget=MNIST.budget,
            mc_samples=MNIST.mc_samples,
            gen_batch_size=1024,
            test_batch_size=EVALUATION_BATCH_SIZE,
            seed=0,
            device="cpu",
        )
        return replace(chain, **changes)

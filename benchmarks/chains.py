"""Chains on real MNIST for the benchmarks, in a folder of their own."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from fisher_al.chain import Chain
from fisher_al.experiment import parse_method
from fisher_al.files.layout import Layout
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
        return Chain.by_protocol(MNIST, layout or self.layout(), parse_method(token, MNIST), **changes)

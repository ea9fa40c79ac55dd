"""A chain: one method in one run, from the initial model through all iterations."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from fisher_al.data.images import Data
from fisher_al.data.in_memory import load_data
from fisher_al.experiment import Experiment, Schedule
from fisher_al.files.layout import Layout
from fisher_al.method.network import seeded_network
from fisher_al.method.registry import ADVERSARIAL, RANDOM, UNCERTAIN, Method
from fisher_al.seeds import derive_seed
from fisher_al.training.checkpoints import load_checkpoint, load_weights


@dataclass(frozen=True)
class Chain:
    """Everything that decides a chain's picks and accuracies."""

    experiment: Experiment
    layout: Layout
    method: Method
    training: Schedule
    iterations: int
    budget: int
    mc_samples: int
    gen_batch_size: int
    test_batch_size: int
    seed: int
    device: str

    @property
    def name(self) -> str:
        return f"{self.layout.name} {self.kind}"

    @property
    def kind(self) -> str:
        """The method, with what else distinguishes curves: ensemble size and start."""
        ensemble = f" E={self.layout.ensemble_size}" if self.layout.ensemble_size > 1 else ""
        return f"{self.method.token}{ensemble}{'' if self.layout.pretrained else ' random init'}"

    @property
    def members(self) -> range:
        """Numbers of the ensemble's networks."""
        return range(self.layout.ensemble_size)

    @property
    def log(self) -> Path:
        """What was done on the chain, line by line; its lock lies beside it."""
        return self.layout.chain_log(self.method)

    @property
    def initial_advice(self) -> str:
        """What to do if an initial model is missing."""
        ensemble = f" -ens {self.layout.ensemble_size}" if self.layout.ensemble_size > 1 else ""
        return f"run run.py --initial{ensemble} first"

    def batch_advice(self, batch: int) -> str:
        """What to do if files of `batch`, from 1, are missing."""
        return f"run batch {batch} first (main_descr.py -b {batch - 1}, or run.py)"

    @property
    def scales(self) -> tuple[str, ...]:
        """Names of the scales that the descriptors concatenate."""
        return self.experiment.scales[self.method.length]

    def widths(self, network: nn.Module) -> list[int]:
        """Channels of each of `scales`."""
        return [network.scales[name] for name in self.scales]

    @property
    def settings(self) -> dict[str, object]:
        """What a checkpoint records, so that results of other settings are not taken for this chain's."""
        settings = {"seed": self.seed, "augment_size": self.budget, **asdict(self.training)}
        settings |= self.experiment.input_settings
        if self.experiment.folder is not None and self.method.kind.has_scales:
            settings["half"] = self.experiment.half_descriptors  # an option of folders of images only
        if self.method.samples_repeatedly:
            settings["mc_samples"] = self.mc_samples
        if self.method.kind.aug == UNCERTAIN:
            settings["ensemble_size"] = self.layout.ensemble_size
            settings["gen_batch_size"] = self.gen_batch_size  # dropout masks are drawn batch by batch
        return settings

    def needs_descriptors(self, batch: int) -> bool:
        """Whether the picks after `batch` depend on descriptors; uncertainty starts from random picks."""
        aug = self.method.kind.aug
        return aug not in (RANDOM, ADVERSARIAL) and not (aug == UNCERTAIN and batch == 0)

    def load_data(self) -> Data:
        return load_data(self.experiment, self.layout, self.seed, self.device)

    def model_path(self, batch: int, member: int) -> Path:
        """Checkpoint of the model that iteration `batch` starts from."""
        if batch == 0:
            return self.layout.initial_checkpoint(member)
        return self.layout.best_checkpoint(self.method, batch, batch * self.budget, member)

    def batch_files(self, batch: int) -> list[Path]:
        """Index list and checkpoints of one batch."""
        index_list = self.layout.index_list(self.method, batch, batch * self.budget)
        return [index_list, *(self.model_path(batch, member) for member in self.members)]

    @property
    def descriptor_files(self) -> list[Path]:
        """What the last iteration described; not every method has all of them."""
        splits = ("train", "val")
        return [self.layout.descriptors(split, self.method, e) for split in splits for e in self.members]

    @property
    def files(self) -> list[Path]:
        """What belongs to the chain alone: descriptors, and index list and checkpoints of every batch."""
        batches = range(1, self.iterations + 1)
        return [*self.descriptor_files, *(path for batch in batches for path in self.batch_files(batch))]

    @property
    def iterations_done(self) -> int:
        """How many iterations are complete on disk."""
        batch = 0
        while batch < self.iterations and all(path.is_file() for path in self.batch_files(batch + 1)):
            batch += 1
        return batch

    def load_model(self, batch: int, member: int) -> nn.Module:
        """The network that iteration `batch` starts from: the initial model, or the best one of `batch`.

        A pretrained initial model keeps the fresh head, which is drawn from the run's seed.
        """
        head_seed = derive_seed(self.seed, self.layout.run, "head", member)
        network = seeded_network(self.experiment.network, self.experiment.num_classes, head_seed)
        path = self.model_path(batch, member)
        checkpoint = load_checkpoint(path, self.batch_advice(batch) if batch else self.initial_advice)
        kept = self.fresh_layers(network) if batch == 0 else ()
        load_weights(network, checkpoint["state_dict"], str(path), kept)
        return network.to(self.device, memory_format=torch.channels_last)

    def fresh_layers(self, network: nn.Module) -> tuple[str, ...]:
        """Names of the layers that the initial model does not provide."""
        return (network.head,) if self.layout.pretrained else ()

    def own_seed(self, *purpose: int | str) -> int:
        """A seed of this method in this run."""
        return derive_seed(self.seed, self.layout.run, self.method.token, *purpose)

    def generator(self, *purpose: int | str, device: str = "cpu") -> torch.Generator:
        """A generator of this method in this run."""
        return torch.Generator(device).manual_seed(self.own_seed(*purpose))

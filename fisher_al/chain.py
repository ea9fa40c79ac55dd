"""A chain: one method in one run, from the initial model through all iterations."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fisher_al.data.batches import default_evaluation_batch_size, most_images_at_once
from fisher_al.data.images import Data
from fisher_al.data.pools import some_of_each_class
from fisher_al.errors import UserError
from fisher_al.experiment import Experiment, Variant
from fisher_al.files.layout import Layout
from fisher_al.method.base import Iteration, Method
from fisher_al.method.network import TappedNetwork, seeded_network
from fisher_al.seeds import derive_generator, derive_seed
from fisher_al.training.checkpoints import load_checkpoint, load_weights
from fisher_al.training.schedule import Schedule

# Images x passes described at once by default, and at most: a bound on memory whatever --gen-batch-size says.
GEN_BATCH_SIZE, MAX_BATCH_SIZE = 1024, 8192


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
    evaluation_batch_size: int
    seed: int
    device: str
    variant: Variant

    @classmethod
    def by_protocol(
        cls, experiment: Experiment, layout: Layout, method: Method, device: str = "cpu", **changes: Any
    ) -> Chain:
        """The chain as the experiment's protocol has it, apart from `changes` of single fields."""
        settings: dict[str, Any] = {
            "training": experiment.training,
            "iterations": experiment.iterations,
            "budget": experiment.budget,
            "mc_samples": experiment.mc_samples,
            "gen_batch_size": GEN_BATCH_SIZE,
            "evaluation_batch_size": default_evaluation_batch_size(device, experiment.source.image_shape),
            "seed": 0,
            "variant": Variant(),
        }
        settings |= changes
        if method.asks_nothing:
            settings["budget"] = 0
        layout = replace(layout, variant_folder=settings["variant"].folder)
        return cls(experiment, layout, method, device=device, **settings)

    def require_fair_tests(self) -> None:
        """Raise UserError if images that are learned would test, or choose the epoch to keep."""
        if not self.trains_on_validation:
            return
        if self.experiment.source.tests_on_validation:
            raise UserError(
                f"{self.curve_name}: the validation images that it learns are those it is tested on; "
                "give --holdout"
            )
        if self.variant.keep == "validation":
            raise UserError(f"--keep validation: {self.curve_name} learns these images; keep best or last")

    @property
    def name(self) -> str:
        return f"{self.layout.name} {self.curve_name}"

    @property
    def curve_name(self) -> str:
        """The method, with what else distinguishes curves: ensemble size, start, use of validation images."""
        ensemble = f" E={self.layout.ensemble_size}" if self.layout.ensemble_size > 1 else ""
        start = "" if self.layout.pretrained else " random init"
        return f"{self.method.token}{ensemble}{start}{self.validation_use}"

    @property
    def validation_use(self) -> str:
        """How many validation images the method has, and whether it trains on them, where a variant says."""
        per_class, trained = self.variant.validation_images, self.variant.train_on_validation
        size = "" if per_class is None else f" V={per_class * self.experiment.num_classes}"
        return size + (" trained on V" if trained and not self.method.asks_nothing else "")

    @property
    def trains_on_validation(self) -> bool:
        """Whether networks learn the labels of the validation images."""
        return self.variant.train_on_validation or self.method.asks_nothing

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
    def settings(self) -> dict[str, Any]:
        """What a checkpoint records, so that results of other settings are not taken for this chain's."""
        settings: dict[str, Any] = {"seed": self.seed, "augment_size": self.budget, **asdict(self.training)}
        settings |= self.experiment.source.input_settings | self.variant.settings
        if self.method.has_scales:
            settings |= self.experiment.source.descriptor_settings
        ensemble_size = self.layout.ensemble_size
        return settings | self.method.settings(ensemble_size, self.mc_samples, self.gen_batch_size)

    def log_facts(self, batch: int, member: int = 0) -> dict[str, int]:
        """What the log tells of an iteration; the names of descriptor files say the member alone."""
        sampled = {"mc_samples": self.mc_samples} if self.method.samples_repeatedly else {}
        return {"member": member, "batch": batch, "augment_size": self.budget, **sampled}

    @property
    def pool_path(self) -> Path:
        return self.experiment.source.pool_path(self.layout)

    def load_data(self) -> Data:
        """The sets of the run, of the validation images those that the variant leaves.

        Raises: UserError if a class has not as many.
        """
        data = self.experiment.source.load(self.layout, self.device)
        per_class = self.variant.validation_images
        if per_class is None:
            return data
        generator = derive_generator(self.seed, self.layout.run, "validation images")
        labels, classes = data.validation.labels.cpu(), self.experiment.num_classes
        chosen = some_of_each_class(labels, per_class, classes, generator)
        return replace(data, validation=data.validation.subset(chosen))

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

    def iteration(self, batch: int, member: int = 0) -> Iteration:
        """The iteration that starts from `batch`, as its method looks at it for the network `member`."""
        data, at_once = self.load_data(), most_images_at_once(self.experiment.source.image_shape)
        return Iteration(
            batch=batch,
            pool=data.pool,
            validation=data.validation,
            num_classes=self.experiment.num_classes,
            load_network=partial(self.load_model, batch),
            ensemble_size=self.layout.ensemble_size,
            scales=self.experiment.lengths.get(self.method.length, ()),
            mc_samples=self.mc_samples,
            budget=self.budget,
            seed_of=partial(self.own_seed, batch),
            describe_batch_size=min(self.gen_batch_size, MAX_BATCH_SIZE, at_once),
            predict_batch_size=self.evaluation_batch_size,
            member=member,
        )

    def load_model(self, batch: int, member: int) -> TappedNetwork:
        """The network that iteration `batch` starts from: the initial model, or the one kept of `batch`.

        A pretrained initial model keeps the fresh head, which is drawn from the run's seed.
        """
        head_seed = derive_seed(self.seed, self.layout.run, "head", member)
        network = seeded_network(self.experiment.network, self.experiment.num_classes, head_seed)
        path = self.model_path(batch, member)
        checkpoint = load_checkpoint(path, self.batch_advice(batch) if batch else self.initial_advice)
        kept = self.fresh_layers(network) if batch == 0 else ()
        load_weights(network, checkpoint["state_dict"], str(path), kept)
        return network.to(self.device).to(memory_format=torch.channels_last)

    def fresh_layers(self, network: TappedNetwork) -> tuple[str, ...]:
        """Names of the layers that the initial model does not provide."""
        return (network.head,) if self.layout.pretrained else ()

    def own_seed(self, *purpose: int | str) -> int:
        """A seed of this method in this run."""
        return derive_seed(self.seed, self.layout.run, self.method.token, *purpose)

    def generator(self, *purpose: int | str, device: str = "cpu") -> torch.Generator:
        """A generator of this method in this run."""
        return torch.Generator(device).manual_seed(self.own_seed(*purpose))

"""What every method is: a name, what it describes, how it picks, and how it is shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fisher_al.data.images import Images
from fisher_al.method.network import TappedNetwork

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Iteration:
    """One iteration of active learning, as far as a method looks at it.

    batch : b, from 0. load_network : gives the current network, by the number of the ensemble's member.
    scales : names of those that descriptors concatenate. mc_samples : K, of all networks together.
    seed_of : gives a seed of the method, run and iteration, by its purpose. describe_batch_size,
    predict_batch_size : images at once. member : the ensemble's network that learns from the picks.
    validation_predictions : gives the classes (V,) of the validation images, where they are not those of the
    current network. trained_validation_labels : those (n,) of the validation images that the network learns
    from, if it does.
    """

    batch: int
    pool: Images
    validation: Images
    num_classes: int
    load_network: Callable[[int], TappedNetwork]
    ensemble_size: int
    scales: tuple[str, ...]
    mc_samples: int
    budget: int
    seed_of: Callable[..., int]
    describe_batch_size: int
    predict_batch_size: int
    member: int = 0
    validation_predictions: Callable[[], Tensor] | None = None
    trained_validation_labels: Tensor | None = None

    @property
    def device(self) -> torch.device:
        return self.pool.device

    def ask(self, images: Tensor) -> Tensor:
        """What the oracle says of pool images (n,) that have a label, or are picked by asking: (n,)."""
        return self.pool.labels[images.to(self.device)].cpu()

    def label_counts(self, labeled: Tensor) -> Tensor:
        """How many labels of each class (C,) the network learns from; labeled : (n,), those of the pool."""
        labels = self.ask(labeled)
        if self.trained_validation_labels is not None:
            labels = torch.cat([labels, self.trained_validation_labels.cpu()])
        return torch.bincount(labels[labels >= 0], minlength=self.num_classes)

    def network_to_describe(self, member: int) -> TappedNetwork:
        """The network whose activations are described; its weights need no gradients for that."""
        return self.load_network(member).requires_grad_(False)

    def generator(self, *purpose: int | str, on_device: bool = False) -> torch.Generator:
        """A generator for the purpose, on the CPU or on the device of the images."""
        device = self.device if on_device else "cpu"
        return torch.Generator(device).manual_seed(self.seed_of(*purpose))


@dataclass(frozen=True)
class DescriptorBlocks:
    """What a method describes: successive blocks of pool images, and validation images if it needs them."""

    pool: Iterable[Tensor]
    validation: Tensor | None = None


@dataclass(frozen=True)
class Descriptors:
    """The same as it comes back from the files: the pool's, one per ensemble member, and the validation's.

    Empty where a method describes nothing. Methods in the Fisher kernel and on features take any `Rows`.
    """

    pool: Sequence[Any] = ()
    validation: Tensor | None = None


@dataclass(frozen=True)
class Method(ABC):
    """A way to choose what to label next; a subclass is one row of the methods table.

    name : its token in `--methods`. sub, aug : its tokens in the stages' options and in file names; no
    two methods may have both alike.
    notation : the paper's, as math text. cost : per pool image and iteration. pool_labels : whether it sees
    labels of the pool before it asks for them. asks_one_by_one : whether what it picks next depends on the
    label of the pick before. asks_nothing : whether it learns the labels of validation images instead.
    ensembles : whether several networks can decide together.
    extension : not in the paper. scripts : the folder of the scripts that run it, if not the dataset's own.
    length : L of its descriptors, where it has any, otherwise 0.
    """

    length: int = 0

    name: ClassVar[str]
    sub: ClassVar[str] = "none"
    aug: ClassVar[str]
    notation: ClassVar[str]
    formula: ClassVar[str]
    cost: ClassVar[str]
    color: ClassVar[str]
    marker: ClassVar[str]
    has_scales: ClassVar[bool] = False
    samples_repeatedly: ClassVar[bool] = False  # whether the number K of dropout passes or views matters
    pool_labels: ClassVar[bool] = False
    asks_one_by_one: ClassVar[bool] = False
    asks_nothing: ClassVar[bool] = False
    ensembles: ClassVar[bool] = False
    extension: ClassVar[bool] = False
    scripts: ClassVar[str] = ""

    @property
    def works_unlabeled(self) -> bool:
        """Whether it picks by itself, and without labels of the pool until it has picked."""
        needs_labels = self.pool_labels or self.asks_one_by_one
        return not (needs_labels or self.asks_nothing or self.scripts)

    @property
    def token(self) -> str:
        """What `--methods` accepts for this method, e.g. `gradFmap/80`."""
        return f"{self.name}/{self.length}" if self.has_scales else self.name

    @property
    def file_tag(self) -> str:
        """The part of file names that tells methods apart."""
        return f"sub_{self.sub}_aug_{self.aug}_L_{self.length}"

    def legend(self, ensemble_size: int, mc_samples_each: int) -> str:
        """The paper's legend entry, which tells the K of each network."""
        return f"{self.notation}, L={self.length}" if self.has_scales else self.notation

    def settings(self, ensemble_size: int, mc_samples: int, gen_batch_size: int) -> dict[str, Any]:
        """Which of these its picks depend on, as checkpoints record them."""
        return {"mc_samples": mc_samples} if self.samples_repeatedly else {}

    def describes(self, batch: int) -> bool:
        """Whether the picks of the iteration that starts from `batch` depend on descriptors."""
        return False

    def describe(self, iteration: Iteration, member: int) -> DescriptorBlocks:
        """Describe the images by the network of one ensemble member, where `describes` says so."""
        raise TypeError(f"{self.name} needs no descriptors")

    def shapes(self, iteration: Iteration) -> tuple[Shape, Shape | None]:
        """Shapes of the pool's and the validation's descriptors that `pick` needs; None: it needs none."""
        raise TypeError(f"{self.name} needs no descriptors")

    @abstractmethod
    def pick(self, iteration: Iteration, labeled: Tensor, descriptors: Descriptors) -> Tensor:
        """Choose `budget` pool images to label next, none of them in `labeled` (n,).

        Returns: indices into the pool (budget,), in the order of picking.
        """

"""Descriptors of pool and validation images under the model that an iteration starts from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from fisher_al.chain import Chain
from fisher_al.data.batches import most_images_at_once
from fisher_al.data.images import Data, Images
from fisher_al.distributed import is_main, wait_for_all
from fisher_al.files.storage import save_rows, save_tensors
from fisher_al.method.descriptors import ForwardPass, describe, describe_in_blocks
from fisher_al.method.pseudo_labels import (
    ESTIMATORS,
    LabelRule,
    most_dependent_label,
    nearest_validation_label,
    predicted_label,
    true_label,
)
from fisher_al.method.registry import KERNEL_ZG, UNCERTAIN
from fisher_al.method.uncertainty import UNCERTAINTIES, statistics_in_blocks
from fisher_al.method.views import draw_views

Column = Callable[[ForwardPass, Tensor], Tensor]

# Bound on images, or images x dropout passes, in memory at once, whatever --gen-batch-size says.
MAX_BATCH_SIZE = 8192


def gen_descr(chain: Chain, batch: int, member: int = 0) -> bool:
    """Write the descriptors that the picks after `batch` need; False where none are needed."""
    if not chain.needs_descriptors(batch):
        return False
    network = chain.load_model(batch, member).requires_grad_(False)  # scores are gradients of activations
    data = chain.load_data()
    if chain.method.kind.aug == UNCERTAIN:
        _write_uncertainty(chain, batch, member, network, data)
    else:
        _write_descriptors(chain, batch, network, data)
    wait_for_all()
    return True


def _write_uncertainty(chain: Chain, batch: int, member: int, network: nn.Module, data: Data) -> None:
    uncertainty = UNCERTAINTIES[chain.method.kind.sub]
    generator = chain.generator(batch, "dropout", member, device=chain.device)
    samples = max(1, chain.mc_samples // len(chain.members))
    blocks = statistics_in_blocks(network, data.pool, uncertainty, samples, _batch_size(chain), generator)
    if len(chain.members) == 1:
        blocks = map(uncertainty.score, blocks)
    _save_pool(chain, member, blocks, len(data.pool))


def _write_descriptors(chain: Chain, batch: int, network: nn.Module, data: Data) -> None:
    kind = chain.method.kind

    def described(images: Images, *columns: Column) -> Tensor:
        return describe(network, images, chain.scales, _batch_size(chain), *columns)

    def pool_in_blocks(column: Column) -> Iterator[Tensor]:
        return describe_in_blocks(network, data.pool, chain.scales, _batch_size(chain), column)

    if kind.borrows_labels:
        columns = _scores_of(true_label), _scores_of(predicted_label), _label_column
        validation = described(data.validation, *columns)
        # the search is by z, or by z and the scores of the predicted label
        keys = validation[..., 0] if kind.sub == "gradFmap" else validation[..., [0, 2]]
        rule = nearest_validation_label(keys.to(chain.device), data.validation.labels, chain.widths(network))
        blocks = pool_in_blocks(_scores_of(rule))
    else:
        column = _no_scores if kind.aug != KERNEL_ZG else _scores_of(_label_rule(chain, batch, network, data))
        validation, blocks = described(data.validation, column), pool_in_blocks(column)
    # Scores are too small for float16, and labels beside validation scores too large for bfloat16.
    _save_pool(chain, 0, blocks, len(data.pool), half=chain.experiment.half_descriptors)
    if is_main():  # large, and made anew at no loss: not worth waiting for the disk
        save_tensors(validation, chain.layout.descriptors("val", chain.method), durable=False)


def _save_pool(chain: Chain, member: int, blocks: Iterable[Tensor], count: int, half: bool = False) -> None:
    """Write what successive `blocks` describe: `count` pool images."""
    if not is_main():
        for _ in blocks:  # this process computes its share; the main one has it all and writes
            pass
        return
    path = chain.layout.descriptors("train", chain.method, member)
    save_rows(blocks, count, path, torch.bfloat16 if half else torch.float32)


def _batch_size(chain: Chain) -> int:
    return min(chain.gen_batch_size, MAX_BATCH_SIZE, most_images_at_once(chain.experiment.image_shape))


def _label_rule(chain: Chain, batch: int, network: nn.Module, data: Data) -> LabelRule:
    """The rule that serves pool and validation alike."""
    sub = chain.method.kind.sub
    if sub in ESTIMATORS:
        generator = chain.generator(batch, "views", device=chain.device)
        image_shape = data.pool[torch.tensor([0])][0].shape[1:]
        views = draw_views(chain.mc_samples, image_shape, generator)
        return most_dependent_label(ESTIMATORS[sub], network, chain.scales, views)
    return {"gradAbl": true_label, "grad": predicted_label}[sub]


def _scores_of(rule: LabelRule) -> Column:
    return lambda one_pass, labels: one_pass.scores(rule(one_pass, labels))


def _no_scores(one_pass: ForwardPass, labels: Tensor) -> Tensor:
    return torch.zeros_like(one_pass.features)


def _label_column(one_pass: ForwardPass, labels: Tensor) -> Tensor:
    """The true label in the first of L columns, as the descriptor files have it."""
    column = torch.zeros_like(one_pass.features)
    column[:, 0] = labels
    return column

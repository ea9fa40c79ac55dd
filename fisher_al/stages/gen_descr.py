"""Descriptors of pool and validation images under the model that an iteration starts from."""

from __future__ import annotations

import torch

from fisher_al.chain import Chain
from fisher_al.distributed import is_main, wait_for_all
from fisher_al.files.storage import save_rows, save_tensors


def gen_descr(chain: Chain, batch: int, member: int = 0) -> bool:
    """Write the descriptors that the picks after `batch` need; False where none are needed."""
    method, layout = chain.method, chain.layout
    if not method.describes(batch):
        return False
    iteration = chain.iteration(batch)
    description = method.describe(iteration, member)
    if not is_main():
        for _ in description.pool:  # this process computes its share; the main one has it all and writes
            pass
    else:
        kept_as = chain.experiment.source.descriptor_type if method.has_scales else torch.float32
        path = layout.descriptors("train", method, member)
        save_rows(description.pool, len(iteration.pool), path, kept_as)
        if description.validation is not None:  # made anew at no loss: not worth waiting for the disk
            save_tensors(description.validation, layout.descriptors("val", method, member), durable=False)
    wait_for_all()
    return True

"""Descriptors of pool and validation images under the model that an iteration starts from."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from fisher_al.chain import Chain
from fisher_al.distributed import is_main, wait_for_all
from fisher_al.files.run_log import WRITES_DESCRIPTORS, append, described
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
        pool, validation = (layout.descriptors(split, method, member) for split in ("train", "val"))
        _announce(chain, batch, member, [pool, validation])
        save_rows(description.pool, len(iteration.pool), pool, kept_as)
        _not_before(chain.model_path(batch, member), pool)
        if description.validation is not None:  # made anew at no loss: not worth waiting for the disk
            save_tensors(description.validation, validation, durable=False)
            _not_before(chain.model_path(batch, member), validation)
    wait_for_all()
    return True


def _announce(chain: Chain, batch: int, member: int, paths: list[Path]) -> None:
    """Note what the files will hold, as they do not say it themselves; ones of another iteration go first."""
    facts = chain.log_facts(batch, member)
    if facts.items() <= described(chain.log, member).items():
        return
    for path in paths:
        path.unlink(missing_ok=True)
    append(chain.log, WRITES_DESCRIPTORS, **facts)


def _not_before(model: Path, descriptors: Path) -> None:
    """Date descriptors like the model that they were made by, where its time lies ahead of the clock."""
    made = model.stat().st_mtime_ns
    if descriptors.stat().st_mtime_ns < made:
        os.utime(descriptors, ns=(made, made))

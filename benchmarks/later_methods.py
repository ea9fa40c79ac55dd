"""What later methods pick, and what their networks recognise, for docs/later-methods.md.

    python3 benchmarks/later_methods.py --figure later       # from the root, after mnist/run.py
    python3 benchmarks/later_methods.py --figure later --dataset FashionMNIST

Takes the options of mnist/run_plot.py that say which chains. Of every run and iteration it records how many
of the picks are of the rare classes, and how many of these classes' test images the network recognises that
goes on from there. In the first run it takes the time of a selection: let the machine do nothing else. With
`--data`, what an earlier call recorded stays, of other runs and the times.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import description, seconds_of
from tqdm import tqdm

from fisher_al.chain import Chain
from fisher_al.commands.options import CampaignOptions, DrawingOptions
from fisher_al.commands.parsing import option
from fisher_al.commands.plan import campaign_chains
from fisher_al.commands.scripts import parse, run_script
from fisher_al.errors import UserError
from fisher_al.files.run_log import versions
from fisher_al.files.storage import save_json
from fisher_al.method.predictions import predict
from fisher_al.method.question import descriptors_of
from fisher_al.results.curve_files import command_line
from fisher_al.stages.main_descr import load_labeled
from mnist.experiment import DATASETS

PICKED, RECALL = "rare among the picks, %", "recall of the rare, %"
TIMED_AFTER, REPEATS = 3, 3


@dataclass(frozen=True)
class LaterOptions(DrawingOptions, CampaignOptions):
    """record"""

    data: Path | None = option(
        "--data", type=Path, help="a JSON of this script, whose runs and times to keep"
    )


def rare_classes(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """The classes with less than half of the images that the average class has."""
    counts = torch.bincount(labels, minlength=num_classes)
    return (counts < counts.double().mean() / 2).nonzero().squeeze(1)


def rare_in(chain: Chain) -> dict[str, list[float]]:
    """By iteration: percent of rare classes among the picks, and percent of their test images recognised."""
    data = chain.load_data()
    rare = rare_classes(data.pool.labels, chain.experiment.num_classes)
    if not len(rare):
        raise UserError(f"{chain.pool_path}: no class is rare; choose a higher -ir")
    test = data.test.subset(torch.isin(data.test.labels, rare).nonzero().squeeze(1))
    picked: list[float] = []
    recall: list[float] = []
    for batch in range(1, chain.iterations_done + 1):
        picks = load_labeled(chain, batch, len(data.pool))[-chain.budget :]
        picked.append(100 * torch.isin(data.pool.labels[picks], rare).double().mean().item())
        predictions = predict(chain.load_model(batch, 0), test, chain.evaluation_batch_size)
        recall.append(100 * (predictions == test.labels).double().mean().item())
    return {PICKED: np.round(picked, 4).tolist(), RECALL: np.round(recall, 4).tolist()}


def selection_seconds(chain: Chain) -> float:
    """Median time of a selection, from the network to the picks."""
    batch = min(TIMED_AFTER, chain.iterations_done)
    iteration, method = chain.iteration(batch), chain.method
    labeled = load_labeled(chain, batch, len(iteration.pool))

    def select() -> None:
        method.pick(iteration, labeled, descriptors_of(method, iteration, in_memory=True))

    return round(seconds_of(select, REPEATS), 4)


def read(path: Path) -> dict[str, Any]:
    """What an earlier call recorded, and on which machine it took the times."""
    if not path.is_file():
        raise UserError(f"{path}: not found; name a JSON that this script wrote")
    try:
        recorded = json.loads(path.read_text())
        return {name: recorded[name] for name in ("machine", "methods")}
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path}: not a record of this script ({error!r}); name another") from error


def main(arguments):
    options, experiment = parse(
        "Record how rare classes fare with each method.", LaterOptions, DATASETS, arguments
    )
    asking = [chain for chain in campaign_chains(experiment, options) if not chain.method.asks_nothing]
    chains = [chain for chain in asking if chain.iterations_done]
    if not chains:
        folder = options.data_folder(experiment.name)
        raise UserError(f"{folder}: no results of these runs; run run.py --figure later first")
    if len(ratios := {chain.layout.imbalance_ratio for chain in chains}) > 1:
        raise UserError(f"-ir: pools of {len(ratios)} imbalance ratios; name one")
    machine = description()
    kept = {"machine": machine, "methods": {}} if options.data is None else read(options.data)
    found = kept["methods"]
    if kept["machine"] != machine and {chain.curve_name for chain in chains} - found.keys():
        raise UserError(f"{options.data}: times of another machine, and a method that has none; leave it out")
    for chain in tqdm(chains, unit="chain"):
        if chain.curve_name not in found:
            found[chain.curve_name] = {"seconds": selection_seconds(chain), "runs": {}}
        found[chain.curve_name]["runs"][chain.layout.run] = rare_in(chain)
    folder = options.out or options.data_folder(experiment.name) / "figures"
    path = folder / f"{experiment.name.lower()}-{options.figure or 'chains'}_rare.json"
    save_json({"command": command_line(), "versions": versions(), **kept}, path)
    print(path)


if __name__ == "__main__":
    run_script(main)

"""What later methods pick, and what their networks recognise, for docs/later-methods.md.

    python3 benchmarks/later_methods.py --figure later       # from the root, after mnist/run.py
    python3 benchmarks/later_methods.py --figure later --dataset FashionMNIST

Takes the options of mnist/run_plot.py. Of every run and iteration it records how many of the picks are of the
rare classes, and how many of the rare classes' test images the network recognises that goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from fisher_al.chain import Chain
from fisher_al.commands.options import CampaignOptions, DrawingOptions
from fisher_al.commands.plan import campaign_chains
from fisher_al.commands.scripts import parse, run_script
from fisher_al.errors import UserError
from fisher_al.files.run_log import versions
from fisher_al.files.storage import save_json
from fisher_al.method.predictions import predict
from fisher_al.results.curve_files import command_line
from fisher_al.stages.main_descr import load_labeled
from mnist.experiment import DATASETS

PICKED, RECALL = "rare among the picks, %", "recall of the rare, %"


@dataclass(frozen=True)
class LaterOptions(DrawingOptions, CampaignOptions):
    """Options of this script."""


def rare_classes(labels: torch.Tensor) -> torch.Tensor:
    """The classes with less than half of the images that the average class has."""
    counts = torch.bincount(labels)
    return (counts < counts.double().mean() / 2).nonzero().squeeze(1)


def rare_in(chain: Chain) -> dict[str, list[float]]:
    """By iteration: percent of rare classes among the picks, and percent of their test images recognised."""
    data = chain.load_data()
    rare = rare_classes(data.pool.labels)
    test = data.test.subset(torch.isin(data.test.labels, rare).nonzero().squeeze(1))
    picked: list[float] = []
    recall: list[float] = []
    for batch in range(1, chain.iterations_done + 1):
        picks = load_labeled(chain, batch, len(data.pool))[-chain.budget :]
        picked.append(100 * torch.isin(data.pool.labels[picks], rare).double().mean().item())
        predictions = predict(chain.load_model(batch, 0), test, chain.test_batch_size)
        recall.append(100 * (predictions == test.labels).double().mean().item())
    return {
        "rare among the picks, %": np.round(picked, 4).tolist(),
        "recall, %": np.round(recall, 4).tolist(),
    }


def main(arguments):
    options, experiment = parse(
        "Record how rare classes fare with each method.", LaterOptions, DATASETS, arguments
    )
    chains = [chain for chain in campaign_chains(experiment, options) if chain.iterations_done]
    if not chains:
        raise UserError(
            f"{options.data_folder(experiment.name)}: no results; run run.py --figure later first"
        )
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for chain in tqdm(chains, unit="chain"):
        found.setdefault(chain.curve_name, {})[chain.layout.run] = rare_in(chain)
    folder = options.out or options.data_folder(experiment.name) / "figures"
    path = folder / f"{experiment.name.lower()}-{options.figure}_rare.json"
    save_json({"command": command_line(), "versions": versions(), "methods": found}, path)
    print(path)


if __name__ == "__main__":
    run_script(main)

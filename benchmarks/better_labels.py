"""Is there a better label S than that of the nearest validation image?

    python3 benchmarks/better_labels.py --initial     # from the root; options as of mnist/run.py
    python3 benchmarks/better_labels.py               # ten runs of three iterations: some 20 minutes

Chosen on runs 10 to 19, which no figure shows: `regressionPrior`, the method `gradShift`. Each takes
probabilities of a label from the validation images' features and labels, and describes the pool by scores of
the most probable one, or by those expected under all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from later_methods import PICKED, rare_in
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from fisher_al.commands.plan import campaign_chains
from fisher_al.commands.run import RunScriptOptions, run_main
from fisher_al.commands.scripts import parse, run_script
from fisher_al.files.run_log import versions
from fisher_al.files.storage import save_json
from fisher_al.method.base import DescriptorBlocks, Iteration
from fisher_al.method.descriptors import ForwardPass, LazyDescriptors, describe, no_scores, scores_of
from fisher_al.method.fisher_kernel import KernelMethod
from fisher_al.method.label_shift import share_ratios, shifted
from fisher_al.method.pseudo_labels import true_label
from fisher_al.method.registry import METHODS
from fisher_al.results.curve_files import command_line
from fisher_al.results.curves import collect_curves
from mnist.experiment import DATASETS

# From features z (n, L) to probabilities (n, C).
Labeler = Callable[[Tensor], Tensor]

MOST_STEPS = 1000


def regression(features: Tensor, labels: Tensor) -> Labeler:
    """Logistic regression on z, every channel standardised over the validation images."""
    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MOST_STEPS)).fit(features, labels)
    return lambda rows: torch.from_numpy(fitted.predict_proba(rows)).float()


def perceptron(features: Tensor, labels: Tensor) -> Labeler:
    """The same by a network of one hidden layer."""
    network = MLPClassifier((64,), max_iter=40, alpha=1e-3, random_state=0)
    fitted = make_pipeline(StandardScaler(), network).fit(features, labels)
    return lambda rows: torch.from_numpy(fitted.predict_proba(rows)).float()


@dataclass(frozen=True)
class Candidate(KernelMethod):
    """Scores expected under what a labeler says.

    fit : makes the labeler of validation features (V, L) and labels (V,). prior : correct it by the pool's
    shares of classes. hard : its most probable label alone.
    """

    token_name: str = ""
    fit: Callable[..., Labeler] = regression
    prior: bool = False
    hard: bool = False

    notation = formula = cost = "candidate"
    color, marker, extension = "#000000", "o", True

    @property
    def name(self) -> str:
        return self.token_name

    sub = name

    def describe(self, iteration: Iteration, member: int) -> DescriptorBlocks:
        network, images = iteration.network_to_describe(member), iteration.validation
        how = iteration.scales, iteration.describe_batch_size
        validation = describe(network, images, *how, scores_of(true_label))
        labeler = self.fit(validation[..., 0], images.labels)
        if self.prior:
            pool = LazyDescriptors(network, iteration.pool, *how, no_scores)
            rows = torch.cat([labeler(block[..., 0]) for block in pool])
            counts = torch.bincount(images.labels, minlength=iteration.num_classes)
            ratio = share_ratios(rows, counts / len(images))
        else:
            ratio = torch.ones(iteration.num_classes)

        def column(one_pass: ForwardPass, labels: Tensor) -> Tensor:
            probabilities = shifted(labeler(one_pass.features), ratio)
            if self.hard:
                probabilities = F.one_hot(probabilities.argmax(1), iteration.num_classes).float()
            return (probabilities.unsqueeze(2) * one_pass.class_scores()).sum(1)

        return DescriptorBlocks(LazyDescriptors(network, iteration.pool, *how, column), validation)


CANDIDATES = (
    Candidate(token_name="regression", fit=regression, hard=True),
    Candidate(token_name="regressionPrior", fit=regression, prior=True, hard=True),
    Candidate(token_name="regressionPriorSoft", fit=regression, prior=True),
    Candidate(token_name="perceptronPrior", fit=perceptron, prior=True, hard=True),
)
# here, so that processes that run chains side by side find them as well
METHODS.update({candidate.name: candidate for candidate in CANDIDATES})

PLAN = ("-ir", "100", "--run-start", "10", "--run-stop", "20", "--iterations", "3", "--keep", "last")
TOKENS = ("gradFmap/80", "gradAbl/80", *(f"{candidate.name}/80" for candidate in CANDIDATES))
RECORD = Path(__file__).with_suffix(".json")


def record(arguments: Sequence[str]) -> None:
    """Write what came out, of every run and iteration."""
    options, experiment = parse("", RunScriptOptions, DATASETS, arguments)
    chains = campaign_chains(experiment, options)
    found: dict[str, Any] = {}
    for metric in ("best", "last"):
        for curve in collect_curves(chains, metric):
            values = dict(zip(curve.runs, curve.values.round(4).tolist(), strict=True))
            found.setdefault(curve.chain.curve_name, {})[metric] = values
    for chain in chains:
        picked = rare_in(chain)[PICKED]
        found[chain.curve_name].setdefault(PICKED, {})[chain.layout.run] = picked
    save_json({"command": command_line(), "versions": versions(), "methods": found}, RECORD)
    print(RECORD)


def main(arguments):
    chosen = () if "--methods" in arguments else ("--methods", *TOKENS)
    arguments = [*PLAN, *chosen, *arguments]
    code = run_main(DATASETS, arguments)
    if code == 0 and "--initial" not in arguments:
        record(arguments)
    return code


if __name__ == "__main__":
    run_script(main)

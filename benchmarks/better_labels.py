"""Is there a better label S than that of the nearest validation image?

    python3 benchmarks/better_labels.py --initial     # from the root; options as of mnist/run.py
    python3 benchmarks/better_labels.py               # ten runs of three iterations: some 20 minutes

The candidates are chosen between on runs 10 to 19, which no figure shows. Each describes the pool by scores
expected under probabilities of the label, from the features of the validation images and their labels: the
scores are linear in the one-hot label, so they cost no more than those of one label.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from fisher_al.commands.run import run_main
from fisher_al.commands.scripts import run_script
from fisher_al.method.acquisition import kernel_features
from fisher_al.method.base import Description, Iteration
from fisher_al.method.descriptors import Described, describe, no_scores, scores_of
from fisher_al.method.fisher_kernel import KernelMethod
from fisher_al.method.pseudo_labels import true_label
from fisher_al.method.registry import METHODS
from mnist.experiment import DATASETS

# From features (n, D) standardised for the kernel to probabilities (n, C).
Labeler = Callable[[Tensor], Tensor]

NEIGHBOURS = 10
PRIOR_STEPS = 100


def nearest(features: Tensor, labels: Tensor, classes: int, neighbours: int) -> Labeler:
    """Votes of the most similar validation images."""

    def probabilities(rows: Tensor) -> Tensor:
        found = (rows @ features.T).topk(neighbours, dim=1).indices
        return F.one_hot(labels[found], classes).float().mean(1)

    return probabilities


def regression(features: Tensor, labels: Tensor, classes: int) -> Labeler:
    """Logistic regression on the validation features."""
    fitted = LogisticRegression(C=1.0, max_iter=200).fit(features.numpy(), labels.numpy())
    weights, biases = torch.tensor(fitted.coef_).float(), torch.tensor(fitted.intercept_).float()
    return lambda rows: (rows @ weights.T + biases).softmax(1)


def shares_of_classes(probabilities: Tensor) -> Tensor:
    """Shares (C,) of the classes among images with these probabilities (N, C) under equal shares.

    By expectation and maximisation (Saerens, Latinne and Decaestecker, Neural Computation 14, 2002).
    """
    shares = torch.full_like(probabilities[0], 1 / probabilities.shape[1])
    for _ in range(PRIOR_STEPS):
        weighted = probabilities * shares
        shares = (weighted / weighted.sum(1, keepdim=True)).mean(0)
    return shares


def corrected(labeler: Labeler, shares: Tensor) -> Labeler:
    """The same probabilities where the classes have these shares."""

    def probabilities(rows: Tensor) -> Tensor:
        weighted = labeler(rows) * shares
        return weighted / weighted.sum(1, keepdim=True)

    return probabilities


@dataclass(frozen=True)
class Candidate(KernelMethod):
    """Scores expected under what a labeler says; its switches are letters of the token.

    votes : of this many neighbours; 0: a logistic regression. prior : correct by the pool's shares of
    classes. hard : one label instead of probabilities.
    """

    token_name: str = ""
    votes: int = 0
    prior: bool = False
    hard: bool = False

    notation = formula = cost = "candidate"
    color, marker, extension = "#000000", "o", True

    @property
    def name(self) -> str:
        return self.token_name

    @property
    def sub(self) -> str:
        return self.token_name

    def describe(self, iteration: Iteration, member: int) -> Description:
        network, images = iteration.network_to_describe(member), iteration.validation
        how = iteration.scales, iteration.describe_batch_size
        widths = [network.scales[name] for name in iteration.scales]
        validation = describe(network, images, *how, scores_of(true_label))
        features = kernel_features(validation[..., 0], widths)
        classes = iteration.num_classes
        if self.votes:
            labeler = nearest(features, images.labels, classes, self.votes)
        else:
            labeler = regression(features, images.labels, classes)
        if self.prior:
            pool = Described(network, iteration.pool, *how, no_scores)
            rows = torch.cat([labeler(kernel_features(block[..., 0], widths)) for block in pool])
            labeler = corrected(labeler, shares_of_classes(rows))

        def column(one_pass, labels: Tensor) -> Tensor:
            probabilities = labeler(kernel_features(one_pass.features, widths))
            if self.hard:
                probabilities = F.one_hot(probabilities.argmax(1), classes).float()
            return one_pass.expected_scores(probabilities)

        return Description(Described(network, iteration.pool, *how, column), validation)


CANDIDATES = (
    Candidate(token_name="votes", votes=NEIGHBOURS),
    Candidate(token_name="votesPrior", votes=NEIGHBOURS, prior=True),
    Candidate(token_name="logit", hard=True),
    Candidate(token_name="logitSoft"),
    Candidate(token_name="logitPrior", prior=True, hard=True),
    Candidate(token_name="logitPriorSoft", prior=True),
)
# here, so that processes that run chains side by side find them as well
METHODS.update({candidate.name: candidate for candidate in CANDIDATES})

PLAN = ("-ir", "100", "--run-start", "10", "--run-stop", "20", "--iterations", "3", "--keep", "last")
TOKENS = ("gradFmap/80", "gradAbl/80", *(f"{candidate.name}/80" for candidate in CANDIDATES))


def main(arguments):
    methods = () if "--methods" in arguments else ("--methods", *TOKENS)
    return run_main(DATASETS, [*PLAN, *methods, *arguments])


if __name__ == "__main__":
    run_script(main)

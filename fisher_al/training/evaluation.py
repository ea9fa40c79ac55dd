"""How accurate a network is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fisher_al.data.batches import EVALUATION_BATCH_SIZE, shared_batches
from fisher_al.data.images import Images
from fisher_al.distributed import share_of, sum_over_processes
from fisher_al.training.objectives import Objective, classification


def evaluate(network: nn.Module, images: Images, batch_size: int = EVALUATION_BATCH_SIZE) -> float:
    """Top-1 accuracy in percent."""
    accuracy = BestSoFar(images, batch_size=batch_size).accuracy(network, to_the_end=True)
    assert accuracy is not None
    return accuracy


class BestSoFar:
    """Top-1 accuracy of successive networks on the same images, where only the best one matters.

    A pass ends as soon as it has as many errors as the best one before. The images whose class was furthest
    from winning when they were last looked at come first, so that a network which is not the best is found
    out after a fraction of the images. The best accuracy, and which network reached it first, are the same
    as from whole passes.
    """

    def __init__(
        self, images: Images, objective: Objective = classification, batch_size: int = EVALUATION_BATCH_SIZE
    ):
        self._images, self._objective, self._batch_size = images, objective, batch_size
        self._last_margins = torch.zeros(len(images), device=images.device)
        self._fewest_errors: int | None = None
        self.improved = False

    def accuracy(self, network: nn.Module, to_the_end: bool = False) -> float | None:
        """Accuracy (percent) of `network`; None if the pass ended early because another was at least as good.

        Afterwards `improved` tells whether this network is the best so far.
        """
        network.eval()
        errors = total = 0
        limit = None if to_the_end else self._fewest_errors
        self.improved = False
        changes = torch.zeros_like(self._last_margins)
        with torch.inference_mode():
            hardest_first = self._last_margins.argsort(stable=True)
            for chunk, inputs, labels in shared_batches(self._images, self._batch_size, hardest_first):
                chosen = share_of(chunk, self._batch_size)
                inputs, labels = self._objective(inputs, labels)
                logits = network(inputs)
                wrong = logits.argmax(1) != labels
                if len(chosen):
                    margins = _margins(logits, labels).float().view(-1, len(chosen)).amin(0)
                    changes[chosen] = margins - self._last_margins[chosen]
                counts = sum_over_processes(torch.stack([wrong.sum(), torch.ones_like(wrong).sum()])).tolist()
                errors, total = errors + counts[0], total + counts[1]
                if limit is not None and errors >= limit:
                    break
        self._last_margins += sum_over_processes(changes)
        if limit is not None and errors >= limit:
            return None
        if self._fewest_errors is None or errors < self._fewest_errors:
            self._fewest_errors, self.improved = errors, True
        return 100 * (total - errors) / total


def _margins(logits: Tensor, labels: Tensor) -> Tensor:
    """By how much the logit of the label leads the largest other one (N,), negative where that one wins."""
    own = labels.unsqueeze(1)
    return logits.gather(1, own).squeeze(1) - logits.scatter(1, own, -torch.inf).amax(1)

"""Which epoch `fit` keeps."""

import pytest
import torch
from torch import nn

from fisher_al.data.images import Images
from fisher_al.training.evaluation import evaluate
from fisher_al.training.fit import fit
from fisher_al.training.schedule import Schedule


class Height(nn.Module):
    """Says 1 where an image is darker than a number that it learns, and 0 elsewhere."""

    def __init__(self):
        super().__init__()
        self.height = nn.Parameter(torch.zeros(()))

    def forward(self, images):
        return torch.stack([images.mean((1, 2, 3)), self.height.expand(len(images))], 1)


def flat_images(*of_brightness):
    """Images of one brightness each, with a label."""
    brightness, labels = map(torch.tensor, zip(*of_brightness, strict=True))
    return Images(brightness.view(-1, 1, 1).expand(-1, 2, 2).to(torch.uint8), labels, 0, 10 / 255)


@pytest.mark.parametrize(("keep", "height"), [("best", 2), ("validation", 1), ("last", 6)])
def test_the_epoch_that_is_asked_for_is_kept(keep, height):
    # the height grows by 1 each epoch: best on validation with 1, on test with 2
    train, validation = flat_images((200, 1)), flat_images((5, 1), (15, 0), (15, 0))
    test = flat_images((15, 1), (25, 0), (25, 0))
    network = Height()
    schedule = Schedule(epochs=6, batch_size=1, learning_rate=1, milestones=(), momentum=0)
    arguments = (schedule, torch.Generator(), test, validation)
    result = fit(network, train, torch.tensor([0]), *arguments, keep=keep)
    assert result.state_dict["height"].item() == pytest.approx(height, abs=0.01)
    kept = Height()
    kept.load_state_dict(result.state_dict)
    accuracies = {"best": result.acc, "validation": result.acc_val, "last": result.acc_last}
    assert len(set(accuracies.values())) == 3
    assert evaluate(kept, test) == accuracies[keep]
    assert result.acc == max(accuracies.values())
    assert result.epoch == height

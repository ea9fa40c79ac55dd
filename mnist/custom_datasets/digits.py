"""scikit-learn's bundled 1,797 handwritten digits, scaled to MNIST's size: nothing to download."""

from pathlib import Path

import torch
import torch.nn.functional as F

from fisher_al.data.in_memory import RawSplits

TEST_IMAGES = 497


def read_digits(folder: Path) -> RawSplits:
    """Return 1,300 training and 497 test images of 28x28, split by class with a fixed seed.

    `folder` is not used: the images come with scikit-learn.
    """
    from sklearn.datasets import load_digits  # slow to import, and needed once per dataset
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = torch.from_numpy(digits.images).float().mul(255 / 16).unsqueeze(1)
    images = F.interpolate(images, size=(28, 28), mode="bilinear").squeeze(1).round().to(torch.uint8)
    labels = torch.from_numpy(digits.target).long()
    train, test = train_test_split(
        torch.arange(len(labels)).numpy(), test_size=TEST_IMAGES, stratify=labels.numpy(), random_state=0
    )
    return RawSplits(images[train], labels[train], images[test], labels[test])

"""LeNet for 28x28 images of one channel."""

import torch.nn.functional as F
from torch import Tensor, nn

from fisher_al.network import Dropout, Tap, no_dropout, untapped


class LeNet(nn.Module):
    """Two convolutions and two fully connected layers; see `fisher_al.network.TappedNetwork`.

    Activations of conv1 and conv2 are taken after max-pooling and ReLU, that of fc1 after ReLU; fc2's are
    the logits. Monte-Carlo dropout: 0.25 after each convolution block, 0.5 after fc1.
    """

    head = "fc2"

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, num_classes)
        self.scales = {"conv1": 10, "conv2": 20, "fc1": 50, "fc2": num_classes}

    def forward(self, images: Tensor, tap: Tap = untapped) -> Tensor:
        """Logits (N, num_classes) of images (N, 1, 28, 28)."""
        return self.above_dropout(self.below_dropout(images), tap)

    def below_dropout(self, images: Tensor) -> Tensor:
        """Activation of conv1 (N, 10, 12, 12): what all dropout passes over an image share."""
        return F.relu(F.max_pool2d(self.conv1(images), 2))

    def above_dropout(self, hidden: Tensor, tap: Tap = untapped, dropout: Dropout = no_dropout) -> Tensor:
        """Logits from `below_dropout`'s activation, with dropout where the paper has it."""
        hidden = dropout(tap("conv1", hidden), 0.25)
        hidden = dropout(tap("conv2", F.relu(F.max_pool2d(self.conv2(hidden), 2))), 0.25)
        hidden = dropout(tap("fc1", F.relu(self.fc1(hidden.flatten(1)))), 0.5)
        return tap("fc2", self.fc2(hidden))

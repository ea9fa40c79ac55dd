"""The same work as people write it first: one PIL image at a time, autograd, everything recomputed."""

import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms.functional import rotate

from fisher_al.method.acquisition import kernel_features

WIDTHS = (10, 20, 50)


class PlainLeNet(nn.Module):
    """The LeNet of the paper, layer by layer; also returns the activations that descriptors are made of."""

    def __init__(self, num_classes=10):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 10, 5), nn.Conv2d(10, 20, 5)
        self.fc1, self.fc2 = nn.Linear(320, 50), nn.Linear(50, num_classes)

    def forward(self, x, dropout=False):
        a = F.relu(F.max_pool2d(self.conv1(x), 2))
        b = F.relu(F.max_pool2d(self.conv2(F.dropout(a, 0.25, dropout)), 2))
        c = F.relu(self.fc1(F.dropout(b, 0.25, dropout).flatten(1)))
        return self.fc2(F.dropout(c, 0.5, dropout)), (a, b, c)


class PlainDataset(Dataset):
    """uint8 images (N, 28, 28), transformed one by one when they are asked for."""

    def __init__(self, images, labels):
        self.images, self.labels = images.numpy(), labels
        normalise = transforms.Normalize((0.1307,), (0.3081,))
        self.transform = transforms.Compose([transforms.ToTensor(), normalise])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


class RotatedDataset(PlainDataset):
    """All four rotations of every image, with the quarter as the label."""

    def __getitem__(self, index):
        image = Image.fromarray(self.images[index])
        return torch.stack([self.transform(rotate(image, 90 * q)) for q in range(4)]), torch.arange(4)


def accuracy(network, loader):
    network.eval()
    correct = total = 0
    with torch.no_grad():
        for x, y in loader:
            x, y = x.flatten(0, -4), y.flatten()
            correct += (network(x)[0].argmax(1) == y).sum().item()
            total += len(y)
    return 100 * correct / total


def train(network, dataset, test, epochs, batch_size, rate):
    """Epochs of SGD with a test pass after each; returns the best accuracy."""
    optimizer = torch.optim.SGD(network.parameters(), rate, momentum=0.5)
    test_loader = DataLoader(test, 1000)
    best = 0.0
    for _ in range(epochs):
        network.train()
        for x, y in DataLoader(dataset, batch_size, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(network(x.flatten(0, -4))[0], y.flatten()).backward()
            optimizer.step()
        best = max(best, accuracy(network, test_loader))
    return best


def describe(network, dataset, label_rule):
    """Features and Fisher scores (N, L, 2) for the label that `label_rule(features, labels)` says."""
    network.eval()
    described = []
    for x, y in DataLoader(dataset, 1000):
        logits, activations = network(x)
        z = torch.cat([a.flatten(2).mean(2) if a.dim() > 2 else a for a in activations], 1).detach()
        loss = F.cross_entropy(logits, label_rule(z, y), reduction="sum")
        gradients = torch.autograd.grad(loss, activations)
        g = torch.cat([d.flatten(2).mean(2) if d.dim() > 2 else d for d in gradients], 1)
        described.append(torch.stack([z, g], 2))
    return torch.cat(described)


def describe_by_nearest_label(network, pool, validation):
    """Descriptors of our method: the pool's labels are those of the nearest validation images in R_z."""
    targets = describe(network, validation, lambda z, y: y)
    keys = kernel_features(targets[..., 0], WIDTHS)
    nearest = lambda z, y: validation.labels[(kernel_features(z, WIDTHS) @ keys.T).argmax(1)]  # noqa: E731
    return targets, describe(network, pool, nearest)


def variation_ratio(network, dataset, passes):
    """One minus the share of the modal class over `passes` whole passes with dropout."""
    network.eval()
    ratios = []
    with torch.no_grad():
        for x, _ in DataLoader(dataset, 1000):
            votes = torch.stack([network(x, dropout=True)[0].argmax(1) for _ in range(passes)])
            ratios.append(1 - F.one_hot(votes, 10).float().mean(0).amax(1))
    return torch.cat(ratios)


def k_centre(features, count):
    """Greedy k-centre that compares all rows with all chosen ones again for every choice."""
    chosen = [0]
    while len(chosen) < count:
        nearest = (features @ features[chosen].T).amax(1)
        nearest[chosen] = torch.inf
        chosen.append(int(nearest.argmin()))
    return chosen

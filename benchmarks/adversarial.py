"""Iterations of VAAL's training on MNIST's protocol, against a plain loop.

    python3 benchmarks/adversarial.py    # a minute; also part of make bench

An iteration is one step of the task network, two of the auto-encoder and two of the discriminator, on
batches of 25 labeled and 25 unlabeled images. The plain loop loads image by image, uses the library's
convolutions and optimizers as they come, and passes labeled and unlabeled images through the networks one
after the other.
"""

import statistics
import time
from dataclasses import replace
from functools import partial
from itertools import chain, pairwise, repeat

import torch
import torch.nn.functional as F
from machine import description
from plain import PlainDataset, PlainLeNet
from tabulate import tabulate
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms

from fisher_al.data.batches import default_evaluation_batch_size
from fisher_al.data.images import Images
from fisher_al.memory import keep_freed_memory
from fisher_al.method.network import seeded_network
from fisher_al.seeds import derive_generator
from fisher_al.training.fit import EpochSelection
from fisher_al.training.objectives import classification
from mnist.experiment import MNIST
from vaal.images import vae_images
from vaal.model import VAE, Discriminator
from vaal.protocol import PROTOCOLS
from vaal.solver import Adversaries, train_round

POOL, LABELED, ITERATIONS, REPEATS = 5_000, 625, 5, 7


class PlainVAE(nn.Module):
    """The auto-encoder layer by layer."""

    def __init__(self, latent=32):
        super().__init__()
        widths = [1, 64, 128, 256, 512]
        down, up = [], []
        for a, b in pairwise(widths):
            down += [nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        for a, b in zip(widths[:1:-1], widths[-2:0:-1], strict=True):
            up += [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.encoder = nn.Sequential(*down, nn.Flatten())
        self.mu, self.logvar = nn.Linear(2048, latent), nn.Linear(2048, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, 2048), nn.Unflatten(1, (512, 2, 2)), *up, nn.ConvTranspose2d(64, 1, 4, 2, 1)
        )

    def forward(self, x):
        h = self.encoder(x)
        mu, logvar = self.mu(h), self.logvar(h)
        return self.decoder(mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)), mu, logvar


class PaddedDataset(PlainDataset):
    """The images as the auto-encoder takes them, transformed one by one."""

    def __init__(self, images, labels):
        super().__init__(images, labels)
        self.transform = transforms.Compose([transforms.Pad(2), transforms.ToTensor()])


def plain_loop(pixels, labels):
    """A function that carries out a number of iterations, written as people write it first."""
    network, vae = PlainLeNet(), PlainVAE()
    d = nn.Sequential(nn.Linear(32, 256), nn.ReLU())
    for _ in range(3):
        d.extend([nn.Linear(256, 256), nn.ReLU()])
    d.append(nn.Linear(256, 1))
    optimizers = [torch.optim.Adam(net.parameters(), 5e-4) for net in (network, vae, d)]
    labeled, unlabeled = (pixels[:LABELED], labels[:LABELED]), (pixels[LABELED:], labels[LABELED:])

    def endless(dataset):
        return chain.from_iterable(repeat(DataLoader(dataset, 25, shuffle=True, drop_last=True)))

    tasks = endless(PlainDataset(*labeled))
    halves = [endless(PaddedDataset(*part)) for part in (labeled, unlabeled)]
    ones, zeros = torch.ones(25, 1), torch.zeros(25, 1)
    bce = F.binary_cross_entropy_with_logits

    def update(optimizer, loss):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def run(count):
        for _ in range(count):
            x, y = next(tasks)
            update(optimizers[0], F.cross_entropy(network(x)[0], y))
            for _ in range(2):
                loss = 0
                for half in halves:
                    x, _ = next(half)
                    reconstruction, mu, logvar = vae(x)
                    kl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1).mean()
                    loss = loss + F.mse_loss(reconstruction, x) + kl + bce(d(mu), ones)
                update(optimizers[1], loss)
            for _ in range(2):
                with torch.no_grad():
                    mus = [vae(next(half)[0])[1] for half in halves]
                update(optimizers[2], bce(d(mus[0]), ones) + bce(d(mus[1]), zeros))

    return run


def our_loop(pixels, labels, precision):
    """The same by this project, on images in memory."""
    pool, labeled = Images(pixels, labels, MNIST.source.mean, MNIST.source.std), torch.arange(LABELED)
    images = vae_images(pool, MNIST.source.mean, MNIST.source.std)
    protocol = replace(PROTOCOLS["MNIST"], precision=precision)
    vae = seeded_network(partial(VAE, size=32, width=protocol.vae_width, latent=protocol.latent), 1, 0)
    hidden = protocol.discriminator_width
    discriminator = seeded_network(partial(Discriminator, hidden=hidden), protocol.latent, 0)
    adversaries = Adversaries(vae, discriminator, protocol, derive_generator("noise"))
    network = seeded_network(MNIST.network, 10, 0)
    few = Images(
        pixels[:10], labels[:10], MNIST.source.mean, MNIST.source.std
    )  # tests are none of what is timed

    def run(count):
        selection = EpochSelection(few, None, classification, default_evaluation_batch_size("cpu", (28, 28)))
        short = replace(protocol, train_iterations=count)
        train_round(network, adversaries, pool, images, labeled, selection, short, derive_generator)

    return run


def adversarial_rows():
    """Iterations per second of each loop, in turns, so that what else the machine does meets them alike."""
    generator = derive_generator("benchmark")
    pixels = torch.randint(0, 256, (POOL, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.arange(POOL) % 10
    loops = {
        "plain PyTorch": plain_loop(pixels, labels),
        "float32": our_loop(pixels, labels, "float32"),
        "--precision bf16": our_loop(pixels, labels, "bf16"),
    }
    seconds = {name: [] for name in loops}
    for run in loops.values():
        run(2)
    for _ in range(REPEATS):
        for name, run in loops.items():
            start = time.perf_counter()
            run(ITERATIONS)
            seconds[name].append((time.perf_counter() - start) / ITERATIONS)
    plain = statistics.median(seconds["plain PyTorch"])
    for name, measured in seconds.items():
        median = statistics.median(measured)
        yield {"VAAL, MNIST": name, "iterations/s": 1 / median, "ratio": plain / median}


if __name__ == "__main__":
    keep_freed_memory()
    print(description())
    print(tabulate(list(adversarial_rows()), headers="keys", tablefmt="github", floatfmt=".3g"))

"""Throughput of ResNet-10 on SVHN-sized images: training, descriptors, Monte-Carlo dropout."""

import torch
from machine import operations_of, seconds_of

from fisher_al.data.images import Images
from fisher_al.method.descriptors import describe
from fisher_al.method.registry import METHODS
from fisher_al.method.uncertainty import statistics_in_blocks
from fisher_al.training.steps import Trainer
from svhn.experiment import SVHN


def resnet_rows(speed):
    """Images per second of each piece of work, and its share of the matrix-product speed."""
    network = SVHN.network(10).to(memory_format=torch.channels_last)
    pixels = torch.randint(0, 256, (1024, 32, 32, 3), dtype=torch.uint8)
    images = Images(pixels, torch.arange(len(pixels)) % 10, SVHN.source.mean, SVHN.source.std)
    batch = images[: SVHN.training.batch_size]
    trainer = Trainer(network.train(), SVHN.training)
    passes, some = (
        SVHN.mc_samples,
        Images(pixels[:64], torch.arange(64) % 10, SVHN.source.mean, SVHN.source.std),
    )

    def scores(one_pass, labels):
        return one_pass.scores(labels)

    def descriptors(length):
        return lambda: describe(network, images, SVHN.lengths[length], 256, scores)

    work = {
        "training, batch 128": (lambda: trainer.step(*batch), len(batch[1]), 9),
        "descriptors z and g, L = 512": (descriptors(512), len(images), 3),
        "descriptors z and g, L = 768": (descriptors(768), len(images), 3),
        f"varMC, K = {passes} passes per image": (
            lambda: list(
                statistics_in_blocks(
                    network, some, METHODS["varMC"].statistics, passes, 1024, torch.Generator().manual_seed(0)
                )
            ),
            len(some),
            3,
        ),
    }
    for name, (run, count, repeats) in work.items():
        run()
        seconds = seconds_of(run, repeats)
        share = operations_of(run) / seconds / speed
        yield {"ResNet-10, 32 x 32": name, "images/s": count / seconds, "of matrix-product speed": share}

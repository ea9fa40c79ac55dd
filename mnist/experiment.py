"""The MNIST protocol of the paper, the same for Fashion-MNIST, and one sized for scikit-learn's digits."""

from dataclasses import replace

from fisher_al.commands.scripts import Datasets
from fisher_al.data.in_memory import MemorySource
from fisher_al.experiment import Experiment, PaperFigure
from fisher_al.training.schedule import Schedule
from mnist.custom_datasets.digits import read_digits
from mnist.custom_datasets.mnist import read_fashion_mnist, read_mnist
from mnist.custom_models.lenet import LeNet

# The curves of the paper's MNIST figures (a) and, beside VAAL's, (b).
COMPARED = (
    *("random", "varMC", "varMC E=4", "none/20", "gradAbl/20", "grad/20", "gradFmap/20", "gradFmap/80"),
)

# What later methods are compared with, without test images in the loop.
LATER = PaperFigure(
    100,
    (
        *("random", "margin", "badge/50", "typiclust/50", "similar", "galaxy", "direct"),
        *("gradFmap/80", "gradShift/80", "gradAbl/80"),
    ),
    ("gradFmap/80", "margin", 88),
    keep="last",
    metrics=("last", "val", "best"),
)

IMAGES = MemorySource(
    name="MNIST",
    read=read_mnist,
    num_classes=10,
    image_shape=(28, 28),
    mean=0.1307,
    std=0.3081,
    validation_per_class=1000,
    pool_size=50_000,
)

MNIST = Experiment(
    source=IMAGES,
    network=LeNet,
    lengths={
        80: ("conv1", "conv2", "fc1"),
        20: ("conv2",),
        30: ("conv1", "conv2"),
        50: ("fc1",),
        10: ("fc2",),
        90: ("conv1", "conv2", "fc1", "fc2"),
    },
    default_length=80,
    training=Schedule(epochs=50, batch_size=25, learning_rate=0.05, milestones=(15, 30, 45)),
    pretraining=Schedule(epochs=8, batch_size=25, learning_rate=0.05, milestones=(3, 6)),
    iterations=10,
    budget=125,
    runs=10,
    imbalance_ratios=(1, 100),
    mc_samples=128,
    methods=("random", "varMC", "none/20", "gradAbl/20", "grad/20", "gradFmap/20", "gradFmap/80"),
    replays_steps=True,
    one_core_per_chain=True,
    figures={
        "fig1": PaperFigure(1, COMPARED, ("gradFmap/80", "varMC", 96)),
        "fig2": PaperFigure(100, (*COMPARED, "vaal"), ("gradFmap/80", "varMC", 88)),
        "fig3": PaperFigure(
            100,
            (
                *("gradAbl/20", "grad/20", "cor/20", "amiFull/20", "gradFmap/20", "gradFmap/80"),
                *("gradFmap/20 random init", "gradFmap/80 random init"),
            ),
            ("gradFmap/80", "gradFmap/80 random init", 88),
        ),
        "later": LATER,
    },
)

DIGITS = replace(
    MNIST,
    source=replace(IMAGES, name="DIGITS", read=read_digits, validation_per_class=30, pool_size=1_000),
    iterations=5,
    budget=20,
    runs=3,
    imbalance_ratios=(10,),
    methods=("random", "varMC", "none/20", "gradAbl/20", "gradFmap/80"),
    one_core_per_chain=False,
    figures={},
)

# Unchanged down to the mean and deviation of the inputs.
FASHION_MNIST = replace(
    MNIST, source=replace(IMAGES, name="FashionMNIST", read=read_fashion_mnist), figures={"later": LATER}
)

DATASETS = Datasets({"MNIST": MNIST, "FashionMNIST": FASHION_MNIST, "DIGITS": DIGITS})

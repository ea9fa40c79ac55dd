"""VAAL's protocol as data, by dataset."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Protocol:
    """How the three networks of a round are built and trained, each by Adam.

    vae_width : channels of the auto-encoder's first convolution, doubled by each of the next three.
    discriminator_width : units of the discriminator's hidden layers.
    beta, adversarial_weight : of the KL divergence and of the discriminator's verdict (lambda) in the
        auto-encoder's loss.
    vae_steps, discriminator_steps : per step of the task network.
    """

    train_iterations: int = 10_000
    batch_size: int = 128
    learning_rate: float = 5e-4
    latent: int = 32
    vae_width: int = 128
    discriminator_width: int = 512
    beta: float = 1.0
    adversarial_weight: float = 1.0
    vae_steps: int = 2
    discriminator_steps: int = 2
    decay: float = 0.9
    decays: int = 25
    tests: int = 5
    precision: str = "float32"

    def learning_rate_at(self, iteration: int) -> float:
        """Learning rate of `iteration`, which counts from 0: it drops every 1/`decays` of the training."""
        return self.learning_rate * self.decay ** (self.decays * iteration // self.train_iterations)

    @property
    def tested(self) -> frozenset[int]:
        """After how many iterations the task network is tested, the last one included."""
        return frozenset(-(-self.train_iterations * test // self.tests) for test in range(1, self.tests + 1))


MNIST = Protocol(batch_size=25, vae_width=64, discriminator_width=256)

# By the names that --dataset takes; for others, the defaults.
PROTOCOLS = {
    "MNIST": MNIST,
    "FashionMNIST": MNIST,
    "DIGITS": replace(
        MNIST, train_iterations=200, learning_rate=2e-3, vae_width=8, discriminator_width=64, latent=8
    ),
    "SVHN": Protocol(),
    "ImageNet": Protocol(learning_rate=1e-3),
}

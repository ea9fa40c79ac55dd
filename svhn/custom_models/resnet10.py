"""ResNet-10: one basic block per layer."""

from fisher_al.method.resnet import TappedResNet


class ResNet10(TappedResNet):
    """The network of the SVHN experiments, for images (N, 3, 32, 32)."""

    def __init__(self, num_classes: int = 10):
        super().__init__((1, 1, 1, 1), num_classes)

"""ResNet-18: two basic blocks per layer."""

from fisher_al.method.resnet import TappedResNet


class ResNet18(TappedResNet):
    """The network of the ImageNet experiments, for images (N, 3, H, W) of at least 32 x 32."""

    def __init__(self, num_classes: int = 1000):
        super().__init__((2, 2, 2, 2), num_classes)

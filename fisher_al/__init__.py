"""Active learning for biased datasets with the Fisher kernel (arXiv:2003.00393).

On one's own features, with a classifier of scikit-learn's; `labeled` are the rows that it was fitted on:

    to_label = pick(X_pool, X_validation, y_validation, classifier, budget=100, labeled=labeled)

On one's own images and network, where `pixels` are uint8 (N, H, W, 3):

    network = Tapped(torchvision.models.resnet18(num_classes=5), {"layer3": 256, "pooled": 512}, head="fc")
    pool = Images(pixels, None, mean, std)
    validation = Images(validation_pixels, validation_labels, mean, std)
    to_label = pick_images(network, pool, validation, budget=100)

The rooms of the package import from one another one way only: commands, running, stages, chain, experiment,
method and training, data, files, ground (errors, seeds, memory, distributed); results from chain; labeling,
for images of one's own, from method and training.
"""

from fisher_al.data.images import Images
from fisher_al.errors import UserError
from fisher_al.method.network import TappedNetwork
from fisher_al.method.pick import pick
from fisher_al.method.pick_images import pick_images
from fisher_al.method.registry import METHODS
from fisher_al.method.tapped import Tapped

__all__ = ["METHODS", "Images", "Tapped", "TappedNetwork", "UserError", "pick", "pick_images"]

"""What visualize_tsne.py does: where the test errors of several methods lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import confusion_matrix
from tabulate import tabulate

from fisher_al.chain import Chain
from fisher_al.commands.options import CampaignOptions, DrawingOptions
from fisher_al.commands.parsing import count, index, option
from fisher_al.commands.plan import campaign_chains, chosen_ratios
from fisher_al.commands.scripts import Datasets, parse
from fisher_al.data.images import Images
from fisher_al.data.in_memory import MemorySource
from fisher_al.errors import UserError
from fisher_al.files.layout import format_ratio
from fisher_al.files.locks import sole_writer
from fisher_al.files.storage import atomic_write, save_json
from fisher_al.method.network import seeded_network
from fisher_al.method.predictions import predict
from fisher_al.results.curve_files import command_line
from fisher_al.results.curves import collect_curves
from fisher_al.results.plotting import describe_imbalance
from fisher_al.results.visualization import Panel, plot_confusion, plot_embedding
from fisher_al.seeds import derive_seed
from fisher_al.training.checkpoints import load_checkpoint, load_weights

DEFAULT_METHODS = ("varMC", "gradFmap/80", "gradAbl/80")


@dataclass(frozen=True)
class VisualizeOptions(DrawingOptions, CampaignOptions):
    """what to look at"""

    batch: int = option("-b", "--batch", type=count, default=3, help="iteration to look at")
    classes: tuple[int, ...] = option(
        "--classes", type=index, nargs="+", default=(5, 8, 9), help="classes whose accuracy is told"
    )


def visualize_tsne_main(datasets: Datasets, arguments: Sequence[str]) -> None:
    """`visualize_tsne.py`: confusion matrices and t-SNE of the test images, one panel per method."""
    options, experiment = parse(
        "Show which test images are misclassified: confusion matrices, and t-SNE of the images.",
        VisualizeOptions,
        datasets,
        arguments,
        without=("iterations",),
        changes={
            "methods": {"help": f"methods to look at (default: {' '.join(DEFAULT_METHODS)})"},
            "imbalance_ratio": {"help": "imbalance ratio, one (default: the protocol's largest)"},
        },
    )
    if not options.figure:
        ratios = options.imbalance_ratio or (max(experiment.imbalance_ratios),)
        options = replace(options, methods=options.methods or DEFAULT_METHODS, imbalance_ratio=ratios)
    ratio, *others = chosen_ratios(experiment, options)
    if others:
        raise UserError(f"-ir {' '.join(map(format_ratio, (ratio, *others)))}: one ratio at a time")
    if max(options.classes) >= experiment.num_classes:
        raise UserError(
            f"--classes {max(options.classes)}: {experiment.name} has 0 to {experiment.num_classes - 1}"
        )

    figures = options.data_folder(experiment.name) / "figures"
    folder = options.out or figures
    chains = campaign_chains(experiment, options)
    source = experiment.source
    assert isinstance(source, MemorySource)  # no folder of images offers this script
    images, labels = source.load_split(chains[0].layout.processed("test"))
    test = Images(images, labels, source.mean, source.std)
    panels = _panels(chains, test, options.batch, options.classes)
    _print_accuracies(panels, options.classes)
    embedding = _embedding(images, figures / "tsne_test.npy")
    title = f"{experiment.name} test images, {describe_imbalance(ratio)}, b = {options.batch}"
    stem = f"{experiment.name}_ir_{format_ratio(ratio)}_batch_{options.batch}"
    paths = [folder / f"{stem}_{name}" for name in ("cmat.png", "tsne.png", "cmat.json")]
    with sole_writer(paths):
        plot_confusion(panels, title, paths[0])
        plot_embedding(panels, embedding, labels.numpy(), title, paths[1])
        _write_data(panels, ratio, options, paths[2])
    print("\nfigures and numbers:", *paths, sep="\n  ")


def _panels(chains: Sequence[Chain], test: Images, batch: int, classes: tuple[int, ...]) -> list[Panel]:
    """One panel per method: confusion matrix of every run, predictions of the first."""
    by_name: dict[str, list[Chain]] = {}
    for chain in chains:
        by_name.setdefault(chain.curve_name, []).append(chain)
    panels = []
    for name, group in by_name.items():
        present = [chain for chain in group if chain.model_path(batch, 0).is_file()]
        if not present:
            method = group[0].method.token
            raise UserError(
                f"{group[0].model_path(batch, 0)}: not found; run run.py --methods {method} first"
            )
        predictions = [predict(_load(chain, batch), test) for chain in present]
        matrices = [confusion_matrix(test.labels, predicted) for predicted in predictions]
        wrong = (predictions[0] != test.labels).numpy()
        runs = tuple(chain.layout.run for chain in present)
        panels.append(Panel(name, _notation(present[0]), runs, np.stack(matrices), wrong, classes))
    return panels


def _notation(chain: Chain) -> str:
    [curve] = collect_curves([replace(chain, iterations=1)])  # knows how many passes there were
    return curve.label


def _load(chain: Chain, batch: int) -> torch.nn.Module:
    """Member 0's network of `batch`, whatever settings it was trained with."""
    path = chain.model_path(batch, 0)
    network = seeded_network(chain.experiment.network, chain.experiment.num_classes, derive_seed("any"))
    load_weights(network, load_checkpoint(path, "run run.py again")["state_dict"], str(path))
    return network


def _print_accuracies(panels: Sequence[Panel], classes: Sequence[int]) -> None:
    names = ", ".join(map(str, classes))
    print(f"test accuracy of classes {names} and of all, %, mean±standard deviation over runs")
    rows = [
        [
            panel.curve_name,
            len(panel.runs),
            _mean_and_std(panel.class_accuracies),
            _mean_and_std(panel.accuracies),
        ]
        for panel in panels
    ]
    print(tabulate(rows, headers=["method", "runs", f"classes {names}", "all"], disable_numparse=True))


def _mean_and_std(values: np.ndarray) -> str:
    return f"{values.mean():.1f}" + (f"±{values.std(ddof=1):.1f}" if len(values) > 1 else "")


def _embedding(images: torch.Tensor, path: Path) -> np.ndarray:
    """t-SNE (N, 2) of the images' 50 principal components (van der Maaten and Hinton, 2008), cached."""
    if path.is_file():
        try:
            with open(path, "rb") as file:
                found = np.lib.format.read_array(file, allow_pickle=False)
        except Exception as error:  # a forged header can ask numpy for anything
            raise UserError(f"{path}: truncated or not a .npy file; delete it to compute it again") from error
        if found.shape == (len(images), 2) and found.dtype.kind == "f" and np.isfinite(found).all():
            return found
        raise UserError(f"{path}: not an embedding of these images; delete it to compute it again")
    print(f"computing t-SNE of {len(images):,} test images, once: minutes ...", flush=True)
    pixels = images.flatten(1).float().numpy() / 255
    reduced = PCA(50, random_state=0).fit_transform(pixels)
    embedding = TSNE(init="pca", random_state=0, n_jobs=-1).fit_transform(reduced)
    with sole_writer([path]), atomic_write(path) as temporary:
        np.save(temporary, embedding)
    return embedding


def _write_data(panels: Sequence[Panel], ratio: float, options: VisualizeOptions, path: Path) -> None:
    content = {
        "command": command_line(),
        "versions": {name: version(name) for name in ("torch", "scikit-learn")},
        "batch": options.batch,
        "ir": ratio,
        "classes": options.classes,
        "confusion (true class, predicted class)": {
            panel.curve_name: {run: m.tolist() for run, m in zip(panel.runs, panel.matrices, strict=True)}
            for panel in panels
        },
    }
    save_json(content, path)

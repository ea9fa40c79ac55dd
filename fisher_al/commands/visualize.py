"""What visualize_tsne.py does: where the test errors of several methods lie."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import confusion_matrix
from tabulate import tabulate

from fisher_al.chain import Chain
from fisher_al.commands import options as cli
from fisher_al.commands.options import Experiments, Parser
from fisher_al.commands.plan import chosen_ratios, data_folder, make_chains
from fisher_al.data.images import Images
from fisher_al.data.in_memory import load_split
from fisher_al.errors import UserError
from fisher_al.files.layout import describe_imbalance, format_ratio
from fisher_al.files.storage import atomic_write, save_json
from fisher_al.method.network import seeded_network
from fisher_al.method.predictions import predict
from fisher_al.results.curve_files import command_line
from fisher_al.results.curves import collect_curves
from fisher_al.results.visualization import Panel, plot_confusion, plot_embedding
from fisher_al.seeds import derive_seed
from fisher_al.training.checkpoints import load_checkpoint, load_weights

METHODS = ["varMC", "gradFmap/80", "gradAbl/80"]


def visualize_tsne_main(experiments: Experiments, arguments: Sequence[str]) -> None:
    """`visualize_tsne.py`: confusion matrices and t-SNE of the test images, one panel per method."""
    parser = Parser("Show which test images are misclassified: confusion matrices, and t-SNE of the images.")
    cli.add_figure_options(parser, experiments)
    parser.add_argument("-b", "--batch", type=cli.count, default=3, help="iteration to look at")
    parser.add_argument(
        "--classes", type=cli.index, nargs="+", default=[5, 8, 9], help="classes whose accuracy is told"
    )
    args = parser.parse_args(arguments)
    if not args.figure:
        args.methods = args.methods or METHODS
    experiment = experiments.choose(args)
    if not args.figure:
        args.imbalance_ratio = args.imbalance_ratio or [max(experiment.imbalance_ratios)]
    ratios = chosen_ratios(experiment, args)
    if len(ratios) > 1:
        raise UserError(f"-ir {' '.join(map(format_ratio, ratios))}: one ratio at a time")
    if max(args.classes) >= experiment.num_classes:
        raise UserError(
            f"--classes {max(args.classes)}: {experiment.name} has 0 to {experiment.num_classes - 1}"
        )

    folder = args.out or data_folder(experiment, args) / "figures"
    chains = make_chains(experiment, args, "cpu")
    images, labels = load_split(chains[0].layout.processed("test"), experiment)
    panels = _panels(chains, Images(images, labels, experiment, "cpu"), args.batch, args.classes)
    _print_accuracies(panels, args.classes)
    embedding = _embedding(images, data_folder(experiment, args) / "figures" / "tsne_test.npy")
    title = f"{experiment.name} test images, {describe_imbalance(ratios[0])}, b = {args.batch}"
    paths = [folder / f"{experiment.name}-{name}" for name in ("cmat.png", "tsne.png", "cmat.json")]
    plot_confusion(panels, title, paths[0])
    plot_embedding(panels, embedding, labels.numpy(), title, paths[1])
    _write_data(panels, ratios[0], args, paths[2])
    print("\nfigures and numbers:", *paths, sep="\n  ")


def _panels(chains: Sequence[Chain], test: Images, batch: int, classes: list[int]) -> list[Panel]:
    """One panel per method: confusion matrix of every run, predictions of the first."""
    by_kind: dict[str, list[Chain]] = {}
    for chain in chains:
        by_kind.setdefault(chain.kind, []).append(chain)
    panels = []
    for kind, group in by_kind.items():
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
        panels.append(Panel(kind, _notation(present[0]), runs, np.stack(matrices), wrong, tuple(classes)))
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
        [panel.kind, len(panel.runs), _mean_and_std(panel.class_accuracies), _mean_and_std(panel.accuracies)]
        for panel in panels
    ]
    print(tabulate(rows, headers=["method", "runs", f"classes {names}", "all"], disable_numparse=True))


def _mean_and_std(values: np.ndarray) -> str:
    return f"{values.mean():.1f}" + (f"±{values.std(ddof=1):.1f}" if len(values) > 1 else "")


def _embedding(images: torch.Tensor, path: Path) -> np.ndarray:
    """t-SNE (N, 2) of the images' 50 principal components (van der Maaten and Hinton, 2008), cached."""
    if path.is_file():
        try:
            found = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise UserError(f"{path}: truncated or not a .npy file; delete it to compute it again") from error
        if found.shape == (len(images), 2):
            return found
        raise UserError(f"{path}: an embedding of other images; delete it to compute it again")
    print(f"computing t-SNE of {len(images):,} test images, once: minutes ...", flush=True)
    pixels = images.flatten(1).float().numpy() / 255
    reduced = PCA(50, random_state=0).fit_transform(pixels)
    embedding = TSNE(init="pca", random_state=0, n_jobs=-1).fit_transform(reduced)
    with atomic_write(path) as temporary:
        np.save(temporary, embedding)
    return embedding


def _write_data(panels: Sequence[Panel], ratio: float, args: argparse.Namespace, path: Path) -> None:
    content = {
        "command": command_line(),
        "versions": {name: version(name) for name in ("torch", "scikit-learn")},
        "batch": args.batch,
        "ir": ratio,
        "classes": args.classes,
        "confusion (true class, predicted class)": {
            panel.kind: {run: m.tolist() for run, m in zip(panel.runs, panel.matrices, strict=True)}
            for panel in panels
        },
    }
    save_json(content, path)

"""Figures of where errors lie: confusion matrices, and an embedding of the test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from fisher_al.files.storage import atomic_write


@dataclass(frozen=True, eq=False)
class Panel:
    """Test errors of one method: `matrices` (runs, C, C), rows true classes, columns predicted ones;
    `wrong` (N,) says which test images the first run misclassifies."""

    curve_name: str
    notation: str
    runs: tuple[str, ...]
    matrices: np.ndarray
    wrong: np.ndarray
    classes: tuple[int, ...]

    @property
    def per_class(self) -> np.ndarray:
        """Accuracy (percent) of every run and class (runs, C)."""
        return 100 * np.diagonal(self.matrices, axis1=1, axis2=2) / self.matrices.sum(2)

    @property
    def class_accuracies(self) -> np.ndarray:
        """Mean accuracy (percent) of the chosen classes, for every run."""
        return self.per_class[:, list(self.classes)].mean(1)

    @property
    def accuracies(self) -> np.ndarray:
        """Accuracy (percent) on all test images, for every run."""
        return 100 * np.trace(self.matrices, axis1=1, axis2=2) / self.matrices.sum((1, 2))

    def title(self, accuracy: float) -> str:
        """What stands above the panel: the method, and how accurate it is on the chosen classes (percent)."""
        names = ", ".join(map(str, self.classes))
        return f"{self.notation}\nclasses {names}: {accuracy:.0f}%"


def plot_confusion(panels: Sequence[Panel], title: str, path: Path) -> None:
    """Draw one confusion matrix per panel, mean over runs, in percent of the true class."""
    figure, axes = _panels(panels, title, height=5.2)
    for ax, panel in zip(axes, panels, strict=True):
        shares = 100 * (panel.matrices / panel.matrices.sum(2, keepdims=True)).mean(0)
        image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.5:
                color = "white" if share > 55 else "black"
                ax.text(column, row, f"{share:.0f}", ha="center", va="center", color=color, fontsize=8)
        ax.set_xticks(range(len(shares)))
        ax.set_yticks(range(len(shares)))
        ax.set_xlabel("predicted class")
        ax.set_title(panel.title(panel.class_accuracies.mean()), fontsize=11)
    axes[0].set_ylabel("true class")
    figure.colorbar(image, ax=axes, label="share of the true class, %", shrink=0.8, pad=0.01)
    _save(figure, path)


def plot_embedding(
    panels: Sequence[Panel], embedding: np.ndarray, labels: np.ndarray, title: str, path: Path
) -> None:
    """Draw the test images at `embedding` (N, 2), coloured by class; those misclassified are large dots."""
    figure, axes = _panels(panels, title, height=5.6)
    count = int(labels.max()) + 1
    colors = ListedColormap(matplotlib.colormaps["tab10"](range(count)))
    norm = BoundaryNorm(np.arange(count + 1) - 0.5, count)
    for ax, panel in zip(axes, panels, strict=True):
        right, wrong = ~panel.wrong, panel.wrong
        ax.scatter(*embedding[right].T, c=labels[right], cmap=colors, norm=norm, **_SMALL)
        dots = ax.scatter(*embedding[wrong].T, c=labels[wrong], cmap=colors, norm=norm, **_LARGE)
        for label in range(count):  # told apart without colour, too
            middle = np.median(embedding[labels == label], axis=0)
            ax.text(*middle, str(label), ha="center", va="center", fontsize=11, weight="bold", bbox=_BADGE)
        above = panel.title(panel.class_accuracies[0])  # of the run that the dots are of
        ax.set_title(f"{above}; large dots: {wrong.sum():,} misclassified", fontsize=11)
        ax.set_xticks([])
        ax.set_yticks([])
    figure.colorbar(dots, ax=axes, label="class", ticks=range(count), shrink=0.8, pad=0.01)
    _save(figure, path)


_SMALL: dict[str, Any] = {"s": 1, "alpha": 0.35, "linewidths": 0}
_LARGE: dict[str, Any] = {"s": 16, "edgecolors": "black", "linewidths": 0.3}
_BADGE: dict[str, Any] = {
    "facecolor": "white",
    "edgecolor": "black",
    "boxstyle": "circle,pad=0.15",
    "linewidth": 0.6,
}


def _panels(panels: Sequence[Panel], title: str, height: float) -> tuple[Figure, list]:
    figure = Figure(figsize=(5 * len(panels) + 1, height), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    figure.suptitle(title)
    return figure, list(axes)


def _save(figure: Figure, path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=130)

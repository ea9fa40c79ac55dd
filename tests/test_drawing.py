"""What figures and tables show, by the numbers that they are drawn from."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import call, read_csv
from matplotlib.figure import Figure
from test_comparison import make_curve
from test_curves import make_chain, write_accuracy

from fisher_al.commands import visualize
from fisher_al.commands.simulate import _mean_and_deviation, _table
from fisher_al.commands.visualize import _mean_and_std
from fisher_al.files import storage
from fisher_al.labeling.simulation import Point
from fisher_al.results import plotting, visualization
from fisher_al.results.comparison import comparison_table, default_accuracy
from fisher_al.results.curve_files import _joined, write_csv


def test_table_of_a_comparison():
    ours, other = make_curve([60, 80, 90], [64, 80, 90]), make_curve(*[[50, 60, 70.4]] * 2, token="varMC")
    assert comparison_table([ours, other], other, default_accuracy(other)) == [
        ["random", "78.0 [71.6, 84.4]", "1.0", "+17.9 [+11.5, +24.3]", "51%"],
        ["varMC", "60.1 [60.1, 60.1]", "2.0", "reference", ""],
    ]


@pytest.fixture
def three(tmp_path, figures):
    """Curves of three methods, whose figures are not drawn."""
    for token, accuracies in (("random", (50, 58.4)), ("varMC", (52, 89.4)), ("gradFmap/80", (70, 92))):
        chain = make_chain(tmp_path, "run0", token)
        for batch, accuracy in enumerate(accuracies, start=1):
            write_accuracy(chain, batch, [10.0, accuracy, 10.0])
    return tmp_path


@pytest.mark.parametrize(
    ("options", "name", "accuracy"), [((), "varMC", 89), (("--reference", "random"), "random", 58)]
)
def test_curves_are_compared_with_the_reference_up_to_its_best(three, options, name, accuracy):
    common = ("-ir", 100, "--datadir", three, "--run-stop", 1, "--iterations", 2)
    out = call("run_plot.py", *common, "--methods", "gradFmap/80", "random", "varMC", *options).out
    assert f"against {name};\nlabels saved on the way to {accuracy}%" in out


def test_csv_columns(tmp_path):
    write_csv([make_curve([50, 60], token="gradFmap/80")], tmp_path / "x.csv")
    expected = {"method": "gradFmap/80", "L": "80", "E": "1", "pretrained": "1", "batch": "1"}
    assert read_csv(tmp_path / "x.csv")[0].items() >= expected.items()


def test_runs_of_several_files_come_by_number():
    assert _joined(make_curve([1], first=10), make_curve([2], first=9), Path()).runs == ("run9", "run10")


@pytest.fixture
def figures(monkeypatch):
    """What was drawn, without files."""
    drawn = []
    for module in (plotting, visualization):
        monkeypatch.setattr(module, "_save", lambda figure, *paths: drawn.append(figure))
    return drawn


def test_a_figure_shows_mean_and_deviation_over_the_share_of_the_pool(figures):
    curve = make_curve([50, 60], [54, 66], token="gradFmap/80")
    chain = curve.chain
    hollow = replace(curve, chain=replace(chain, layout=replace(chain.layout, pretrained=False)))
    plotting.plot_curves([curve, hollow], [])
    [axes] = figures[0].axes
    assert axes.get_title() == "MNIST, 100x class imbalance"
    lines = [container.lines for container in axes.containers]
    for line, _, (bars,) in lines:
        assert line.get_xydata().tolist() == [[0.25, 52], [0.5, 63]]
        ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
        assert ends[0] == pytest.approx([52 - 8**0.5, 52 + 8**0.5])
    assert [line.get_markerfacecolor() == "white" for line, *_ in lines] == [False, True]
    assert lines[0][0].get_linestyle() == "-"


def test_published_points_stand_where_they_belong(figures):
    plotting.plot_curves([make_curve([50, 60, 70], token="cor/20")], [], with_paper=True)
    published = [
        line for line in figures[0].axes[0].lines if line.get_marker() == "." and len(line.get_xdata())
    ]
    assert published[0].get_xdata().min() > 0.25  # the paper's curve starts later


def test_the_arrow_ends_at_both_curves(figures):
    fast, slow = make_curve([60, 80, 90]), make_curve([50, 60, 70])
    plotting.plot_curves([fast, slow], [], saving=plotting.Saving(fast, slow, 70))
    [arrow] = figures[0].axes[0].texts
    assert {arrow.xy, arrow.xyann} == {(0.375, 70), (0.75, 70)}


def panel(matrices, wrong):
    runs = tuple(f"run{number}" for number in range(len(matrices)))
    return visualization.Panel("random", "random", runs, np.array(matrices), np.array(wrong), (0, 1))


def test_confusion_and_embedding_show_what_is_true_and_wrong(figures):
    shown = panel([[[8, 2], [15, 5]]], [False, True, True])
    visualization.plot_confusion([shown], "", Path())
    assert figures[0].axes[0].images[0].get_array().tolist() == [[80, 20], [75, 25]]
    points = np.arange(6.0).reshape(3, 2)
    visualization.plot_embedding([shown], points, np.array([0, 1, 1]), "", Path())
    small, large = figures[1].axes[0].collections
    assert (len(small.get_offsets()), len(large.get_offsets())) == (1, 2)
    assert "2 misclassified" in figures[1].axes[0].get_title()


def test_dots_are_of_the_first_run(tmp_path, monkeypatch):
    chains = [make_chain(tmp_path, run) for run in ("run0", "run1")]
    for chain in chains:
        chain.model_path(1, 0).parent.mkdir(parents=True)
        chain.model_path(1, 0).touch()
    said = {"run0": torch.tensor([0, 0]), "run1": torch.tensor([1, 1])}
    monkeypatch.setattr(visualize, "_load", lambda chain, batch: chain.layout.run)
    monkeypatch.setattr(visualize, "predict", lambda run, test: said[run])
    monkeypatch.setattr(visualize, "_notation", lambda chain: "")
    test = SimpleNamespace(labels=torch.tensor([0, 1]))
    [found] = visualize._panels(chains, test, 1, (0,))
    assert found.wrong.tolist() == [False, True]
    assert found.matrices.tolist() == [[[1, 0], [1, 0]], [[0, 1], [0, 1]]]


def test_deviations_are_of_a_sample():
    assert _mean_and_std(np.array([1.0, 3.0])) == "2.0±1.4"
    points = [SimpleNamespace(accuracy=share) for share in (0.1, 0.3)]
    assert _mean_and_deviation(points, "accuracy") == pytest.approx((20, 10 * 2**0.5))


def test_a_table_of_simulated_rounds_tells_the_last(tmp_path):
    points = [Point("random", 0, labels, labels / 10, 0.5, 0.5, 0.5) for labels in (0, 4, 8)]
    rows = _table(points, ["random"])
    assert [row[:3] for row in rows] == [["no picks", 0, "0.0"], ["random", "8", "80.0"]]


def interrupted(path, *_, **__):
    path.write_bytes(b"half")
    raise KeyboardInterrupt


def test_an_interrupted_figure_leaves_the_old_one(tmp_path, monkeypatch):
    for name in ("x.png", "x.csv", "x.json"):
        (tmp_path / name).write_text("old")
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: interrupted(Path(path)))
    with pytest.raises(KeyboardInterrupt):
        plotting.plot_curves([make_curve([50, 60])], [tmp_path / "x.png"])
    monkeypatch.setattr(Path, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        storage.save_json({"a": 1}, tmp_path / "x.json")
    broken = SimpleNamespace(runs=(), chain=None, values=None)
    with pytest.raises(TypeError):
        write_csv([make_curve([50]), broken], tmp_path / "x.csv")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        ("x.png", "x.csv", "x.json"), "old"
    )

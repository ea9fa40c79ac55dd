"""Figures from checkpoints and from their data; confusion matrices and t-SNE."""

import json
import re
import shutil
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
import torch
from conftest import ROOT, call, require_one_line, run, snapshot
from test_curves import make_chain, write_accuracy

from fisher_al.errors import UserError
from fisher_al.results import plotting
from fisher_al.results.curve_files import read_json
from fisher_al.results.plotting import plot_panels
from fisher_al.results.visualization import Panel
from mnist.experiment import MNIST


@pytest.fixture
def folder(tmp_path):
    """Two runs of four curves of the second figure, three iterations each."""
    for token, ensemble_size, accuracies in (
        ("random", 1, (50, 55, 58)),
        ("varMC", 1, (52, 70, 89)),
        ("varMC", 4, (52, 72, 90)),
        ("gradFmap/80", 1, (70, 89, 92)),
    ):
        for number in range(2):
            chain = make_chain(tmp_path, f"run{number}", token, ensemble_size=ensemble_size)
            for batch, accuracy in enumerate(accuracies, start=1):
                for member in range(ensemble_size):
                    write_accuracy(chain, batch, [10.0, accuracy + number, 10.0], member)
    return tmp_path


def test_runs_of_several_files_are_drawn_together(folder):
    files = []
    for first in range(2):  # each run on a machine of its own, the second one's numbers once more corrected
        out = folder / f"machine{first}"
        only = ("--figure", "fig2", "--iterations", 3, "--run-start", first, "--run-stop", first + 1)
        assert call("run_plot.py", *only, "--datadir", folder, "--out", out).code == 0
        files.append(out / "mnist-fig2.json")
    corrected = json.loads(files[1].read_text())
    corrected["curves"][0]["runs"]["run1"][0] = 1.5
    files.append(folder / "corrected.json")
    files[2].write_text(json.dumps(corrected))
    outcome = call("run_plot.py", "--data", *files, "--out", folder / "all")
    assert outcome.code == 0, outcome.err
    [curves] = read_json(folder / "all" / "mnist-fig2.json", experiment=MNIST).values()
    assert [curve.chain.curve_name for curve in curves] == ["random", "varMC", "varMC E=4", "gradFmap/80"]
    assert all(curve.runs == ("run0", "run1") for curve in curves)
    assert curves[0].values.tolist() == [[50, 55, 58], [1.5, 56, 59]]
    assert curves[3].values.tolist() == [[70, 89, 92], [71, 90, 93]]
    assert curves[3].settings == json.loads(files[0].read_text())["curves"][3]["settings"]

    before = files[0].read_bytes()
    outcome = call("run_plot.py", "--data", *files, "--out", files[0].parent)
    assert outcome.code == 2
    assert "mnist-fig2.json: is read, and would be written over; give another folder" in outcome.err
    assert files[0].read_bytes() == before

    corrected["curves"][0]["settings"] = {"epochs": 50}
    files[2].write_text(json.dumps(corrected))
    first = json.loads(files[0].read_text())
    first["curves"][0]["settings"] = {"epochs": 5}
    files[0].write_text(json.dumps(first))
    outcome = call("run_plot.py", "--data", files[0], files[2], "--out", folder / "mixed")
    assert outcome.code == 2
    assert "corrected.json: random with epochs 50, elsewhere 5" in outcome.err
    first["metric"] = "last"
    files[0].write_text(json.dumps(first))
    assert not (folder / "mixed").exists()
    outcome = call("run_plot.py", "--data", files[1], files[0], "--out", folder / "panels")
    assert outcome.code == 0, outcome.err
    assert "test accuracy of the last epoch, %" in outcome.out
    names = {path.name for path in (folder / "panels").iterdir()}
    assert names >= {"mnist-fig2.png", "mnist-fig2_best.csv", "mnist-fig2_last.csv"}


def test_files_of_several_pools_do_not_overwrite_each_other(folder, tmp_path_factory):
    out, options = tmp_path_factory.mktemp("several"), ("--methods", "random", "--run-stop", 2)
    assert call("run_plot.py", *options, "-ir", 100, "--datadir", folder, "--out", out).code == 0
    first = out / "MNIST_ir_100.json"
    other = json.loads(first.read_text())
    other["curves"][0]["ir"] = 1.0
    (out / "other.json").write_text(json.dumps(other))
    before = {path: path.read_bytes() for path in (first, out / "other.json")}
    outcome = call("run_plot.py", "--data", first, out / "other.json", "--out", out)
    assert outcome.code == 0, outcome.err
    assert {path: path.read_bytes() for path in before} == before
    assert {f"MNIST_ir_100_ir_{ratio}.json" for ratio in (1, 100)} < {path.name for path in out.iterdir()}
    outcome = call("run_plot.py", "--data", out / "nowhere.json")
    assert (outcome.code, "nowhere.json: not found" in outcome.err) == (2, True)


@pytest.mark.parametrize("own", [("-ens", 2), ("-unsup", 0)])
def test_a_figure_says_itself_what_it_shows(folder, own):
    outcome = call("run_plot.py", "--figure", "fig2", "--datadir", folder, "--run-stop", 1, *own)
    assert outcome.code == 2
    assert "--figure fig2: says itself which ensembles and initial models" in outcome.err


def test_a_folder_of_any_name_is_no_formula(tmp_path):
    path = tmp_path / "figure.png"
    plot_panels({"accuracy": []}, "labels", [path], title="cats$^$dogs, 100x fewer of 5-9")
    assert path.is_file()


def test_metrics_are_drawn_side_by_side_and_again_from_their_data(folder):
    options = ("--methods", "random", "varMC", "-ir", 100, "--run-stop", 2, "--iterations", 3)
    out = folder / "out"
    metrics = ("--metric", "last", "best")
    assert call("run_plot.py", *options, "--datadir", folder, "--out", out, *metrics).code == 0
    stem = "MNIST_ir_100_last_best"
    files = [out / f"{stem}_{metric}.json" for metric in metrics[1:]]
    by_metric = read_json(*files, experiment=MNIST)
    assert list(by_metric) == ["last", "best"]
    assert by_metric["best"][0].values[:, 0].tolist() == [50, 51]
    again = folder / "again"
    assert call("run_plot.py", "--data", *files, "--out", again).code == 0
    assert {path.name for path in again.iterdir()} == {
        *(f"{stem}.png", f"{stem}.pdf", f"{stem}_last.csv", f"{stem}_best.csv")
    }
    assert np.array_equal(*(matplotlib.image.imread(at / f"{stem}.png") for at in (again, out)))


def test_a_figure_of_the_paper_and_again_from_its_data(folder):
    common = ("--figure", "fig2", "--datadir", folder, "--run-stop", 2, "--iterations", 3)
    outcome = call("run_plot.py", *common, "--compare-paper", "--accuracy", 80)
    assert outcome.code == 0, outcome.err
    figures = folder / "MNIST" / "figures"
    names = {path.name for path in figures.iterdir()}
    assert names == {f"mnist-fig2.{suffix}" for suffix in ("png", "pdf", "csv", "json")}
    # by hand: the means reach 80% after 1 + 9.5/19 batches with ours, after 2 + 9.5/19 with varMC
    saving = 1 - (1 + 9.5 / 19) / (2 + 9.5 / 19)
    compared = outcome.out.split("mean rank")[1]
    assert re.search(rf"^gradFmap/80 .* {saving:.0%}$", compared, re.MULTILINE)
    assert re.search(r"^random .* -$", compared, re.MULTILINE)
    assert "ours minus published" in outcome.out
    assert "missing: none/20: run0, run1" in outcome.out
    assert matplotlib.image.imread(figures / "mnist-fig2.png")[..., :3].std() > 0.05

    [(metric, curves)] = read_json(figures / "mnist-fig2.json", experiment=MNIST).items()
    assert metric == "best"
    assert [curve.chain.curve_name for curve in curves] == ["random", "varMC", "varMC E=4", "gradFmap/80"]
    assert curves[3].values.tolist() == [[70, 89, 92], [71, 90, 93]]
    assert curves[1].label == "varR, E=1, K=128"
    again = folder / "again"
    outcome = call(
        "run_plot.py",
        "--figure",
        "fig2",
        "--data",
        figures / "mnist-fig2.json",
        "--compare-paper",
        "--out",
        again,
    )
    assert outcome.code == 0, outcome.err
    for suffix in ("png", "csv"):
        assert (again / f"mnist-fig2.{suffix}").read_bytes() == (
            figures / f"mnist-fig2.{suffix}"
        ).read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--figure", "fig9"), "--figure fig9: MNIST has fig1, fig2, fig3"),
        (("--reference", "badge/80"), "--reference badge/80: not among the curves"),
        (("--accuracy", "101"), "--accuracy: '101' is not an accuracy in percent"),
        (
            ("--data", "nowhere.json"),
            "draws what its files hold; leave --run-stop, --imbalance-ratio, --iterations, --methods out",
        ),
    ],
)
def test_wrong_options_of_run_plot(folder, options, message):
    before = snapshot(folder)
    common = ("-ir", 100, "--datadir", folder, "--run-stop", 2, "--iterations", 3, "--methods", "random")
    outcome = call("run_plot.py", *common, *options)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert snapshot(folder) == before


BROKEN = (
    "",
    "[]",
    '{"dataset": "MNIST"}',
    '{"dataset": "X", "curves": [], "metric": "best"}',
    '{"dataset": "X", "metric": "best"}',
    '{"dataset": "X", "curves": 3, "metric": "best"}',
    '{"dataset": "MNIST", "metric": "best", "curves": [{"runs": {}}]}',
    '{"dataset": "MNIST", "metric": "best", "curves": [{"runs": {"\\u001b[31m": [1]}}]}',
)


def test_curves_that_only_their_settings_tell_apart_are_not_drawn_together(tmp_path):
    files = [ROOT / "images" / name for name in ("mnist-fig2.json", "mnist-later_best.json")]
    outcome = call("run_plot.py", "--data", *files, "--out", tmp_path)
    require_one_line(outcome, "two curves are random, of other settings .*; draw their files on their own")
    later = call("run_plot.py", "--data", files[1], "--compare-paper", "--out", tmp_path)
    require_one_line(later, "--compare-paper: the paper shows none of these curves")
    content = json.loads(files[0].read_text())
    for curve in content["curves"]:
        curve["runs"] = {run: [None] * len(row) for run, row in curve["runs"].items()}
    (tmp_path / "empty.json").write_text(json.dumps(content))
    require_one_line(
        call("run_plot.py", "--data", tmp_path / "empty.json"), r"empty\.json: no accuracy in it"
    )


@pytest.mark.parametrize(
    ("ours", "other", "share"),
    [("gradFmap/80", "varMC", "40% fewer"), ("varMC", "gradFmap/80", "67% more")],  # 1.5 batches and 2.5
)
def test_a_figure_says_who_saves_labels(ours, other, share, folder, monkeypatch):
    told = []
    monkeypatch.setattr(plotting, "_save", lambda figure, paths: told.append(figure))
    claimed = replace(MNIST.figures["fig2"], claim=(ours, other, 80))
    monkeypatch.setitem(MNIST.figures, "fig2", claimed)
    common = ("--datadir", folder, "--run-stop", 2, "--iterations", 3)
    assert call("run_plot.py", "--figure", "fig2", *common).code == 0
    legends = [*told[0].legends, *filter(None, [told[0].axes[0].get_legend()])]
    texts = [text.get_text() for legend in legends for text in legend.get_texts()]
    assert f"{share} labels at 80%" in texts


@pytest.mark.parametrize("content", BROKEN)
def test_broken_data_of_a_figure(tmp_path, content):
    path = tmp_path / "curves.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"curves\.json"):
        read_json(path, experiment=MNIST)


def test_panel_accuracies_by_hand():
    matrices = np.array([[[8, 2], [5, 5]], [[10, 0], [9, 1]]])
    panel = Panel("random", "random", ("run0", "run1"), matrices, np.zeros(20, bool), (1,))
    assert panel.accuracies.tolist() == [65, 55]
    assert panel.per_class.tolist() == [[80, 50], [100, 10]]
    assert panel.class_accuracies.tolist() == [50, 10]
    assert panel.title(panel.class_accuracies.mean()) == "random\nclasses 1: 30%"


def test_confusion_matrices_and_embedding(digits_folder, tmp_path):
    shutil.copytree(digits_folder, tmp_path, dirs_exist_ok=True)
    common = (
        "--dataset",
        "DIGITS",
        "--datadir",
        tmp_path,
        "--run-stop",
        1,
        "--methods",
        "random",
        "gradFmap/80",
    )
    outcome = call("run.py", *common, "--iterations", 1, "--epochs", 2, "--augment-size", 20)
    assert outcome.code == 0, outcome.err
    output = run("visualize_tsne.py", *common, "-b", 1, "--augment-size", 20)
    assert "classes 5, 8, 9" in output
    figures = tmp_path / "DIGITS" / "figures"
    for name in ("DIGITS_ir_10_batch_1_cmat.png", "DIGITS_ir_10_batch_1_tsne.png"):
        assert matplotlib.image.imread(figures / name)[..., :3].std() > 0.05
    _, labels = torch.load(tmp_path / "DIGITS" / "processed" / "test.pt", weights_only=True)
    embedding = np.load(figures / "tsne_test.npy")
    assert embedding.shape == (len(labels), 2)
    data = json.loads((figures / "DIGITS_ir_10_batch_1_cmat.json").read_text())
    matrix = np.array(data["confusion (true class, predicted class)"]["random"]["run0"])
    assert matrix.sum(1).tolist() == labels.bincount().tolist()
    assert f"{matrix[[5, 8, 9], [5, 8, 9]] @ (1 / matrix.sum(1)[[5, 8, 9]]) / 3 * 100:.1f}" in output
    # neighbours in the embedding are mostly of one class, and it is computed once
    distances = ((embedding[:, None] - embedding[None]) ** 2).sum(2)
    np.fill_diagonal(distances, np.inf)
    assert (labels[distances.argmin(1)] == labels).float().mean() > 0.9
    before = (figures / "tsne_test.npy").stat().st_mtime_ns
    outcome = call("visualize_tsne.py", *common, "-b", 1, "--augment-size", 20)
    assert outcome.code == 0, outcome.err
    assert (figures / "tsne_test.npy").stat().st_mtime_ns == before
    whole = (figures / "tsne_test.npy").read_bytes()
    for broken in (
        b"",
        b"junk",
        whole[:-9],
        b"PK\x03\x04" + whole,
        np.full((497, 2), np.nan),
        np.zeros((497, 2), "U3"),
    ):
        if isinstance(broken, bytes):
            (figures / "tsne_test.npy").write_bytes(broken)
        else:
            np.save(figures / "tsne_test.npy", broken)
        outcome = call("visualize_tsne.py", *common, "-b", 1, "--augment-size", 20)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert "tsne_test.npy: " in outcome.err
    missing = call("visualize_tsne.py", *common, "-b", 2, "--augment-size", 20)
    assert missing.code == 2
    assert "run run.py --methods random first" in missing.err

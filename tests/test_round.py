"""`fisher-al pick`: a folder of images and a few labels in, the files of a round out; and what is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, read_csv, snapshot
from labeling import CLASSES, CROP, fisher_al, make_animals, save_image, save_weights, write_csv
from PIL import Image

from fisher_al.labeling.cache import FeatureCache

OUT = {"picks.csv", "labels.csv", "label_studio.json", "index.html", "report.json", "round.json"}
OUT |= {"head.pt", "predictions.csv"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """Animals, weights, and a first round whose features are in the cache."""
    folder = make_animals(tmp_path_factory.mktemp("animals"))
    save_weights(folder / "weights.pt")
    outcome = fisher_al(*command(folder))
    assert outcome.code == 0, outcome.err
    return folder


@pytest.fixture
def animals(prepared, tmp_path) -> Path:
    """The same in a folder that a test may change."""
    folder = shutil.copytree(
        prepared, tmp_path / "animals", ignore=shutil.ignore_patterns("round1", "features")
    )
    assert fisher_al(*command(folder)).code == 0
    return folder


def command(folder: Path, *more: object, out: str = "round1", budget: int = 6) -> tuple[object, ...]:
    network = ("--weights", folder / "weights.pt", "--crop", CROP, "--loader", "torchvision", "--workers", 1)
    what = ("pick", folder / "pool", "--validation", folder / "validation", "--near-duplicate", 1)
    return (*what, "--budget", budget, "--out", folder / out, *network, *more)


def picked(folder: Path, out: str) -> list[str]:
    return [row["filepath"] for row in read_csv(folder / out / "picks.csv")]


def answer(folder: Path, out: str = "round1") -> Path:
    """The round's labels.csv, filled in with the truth."""
    truth = {row["filepath"]: row["label"] for row in read_csv(folder / "truth.csv")}
    path = folder / out / "labels.csv"
    return write_csv(path, ("filepath", "label"), [(key, truth[key]) for key in picked(folder, out)])


def require_refusal(outcome, *told: str) -> None:
    """Assert one line that tells this, and exit code 2."""
    assert outcome.code == 2, outcome.out
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1, outcome.err
    for part in told:
        assert part in outcome.err


def test_a_round_has_all_its_files(prepared):
    folder = prepared / "round1"
    assert {path.name for path in folder.iterdir()} == OUT | {"round.lock"}
    picks = read_csv(folder / "picks.csv")
    assert list(picks[0]) == [
        *("filepath", "rank", "score", "predicted", "confidence"),
        *("matched_filepath", "matched_label"),
    ]
    assert [row["rank"] for row in picks] == [str(n) for n in range(1, 7)]
    known = {row["filepath"] for row in read_csv(prepared / "truth.csv")}
    assert {row["filepath"] for row in picks} < known
    for row in picks:
        assert row["predicted"] in CLASSES
        assert 0 < float(row["confidence"]) <= 1
        assert Path(row["matched_filepath"]).parent.name == row["matched_label"]
    labels = read_csv(folder / "labels.csv")
    assert labels == [{"filepath": row["filepath"], "label": ""} for row in picks]
    tasks = json.loads((folder / "label_studio.json").read_text())
    assert [task["data"]["filepath"] for task in tasks] == [row["filepath"] for row in picks]


def test_the_report_is_what_can_be_counted_by_hand(animals):
    answer(animals)
    outcome = fisher_al(*command(animals, "--labels", animals / "round1" / "labels.csv", out="round2"))
    assert outcome.code == 0, outcome.err
    numbers = json.loads((animals / "round2" / "report.json").read_text())
    images = numbers["images"]
    assert (images["pool"], images["labeled"], images["validation"], images["picked"]) == (24, 6, 15, 6)
    assert not set(picked(animals, "round2")) & set(picked(animals, "round1"))
    of_all = numbers["accuracy"]["all validation images"]
    never = numbers["accuracy"]["validation images that are never matched"]
    assert (of_all["images"], never["images"]) == (15, 3)  # a fifth of each class
    recalls = [row["recall"] for row in numbers["classes"].values()]
    assert of_all["accuracy"] == of_all["balanced accuracy"] == pytest.approx(np.mean(recalls), abs=0.1)
    assert sum(row["labeled"] for row in numbers["classes"].values()) == 6
    assert [row["validation"] for row in numbers["classes"].values()] == [5, 5, 5]
    assert sum(row["expected among picks"] for row in numbers["classes"].values()) == pytest.approx(100, 0.01)
    for told in ("24 pool, 6 labeled", f"accuracy {of_all['accuracy']}%", "cross-fitting"):
        assert told in outcome.out


def test_predictions_are_those_of_the_head_that_is_kept(prepared):
    folder = prepared / "round1"
    head = torch.load(folder / "head.pt", weights_only=True)
    assert head["classes"] == list(CLASSES)
    assert head["crop"] == CROP
    [cache_folder] = (path for path in (prepared / "features").iterdir())
    cache = FeatureCache(cache_folder, 512)
    row_of = {Path(path): row for (path, _, _), row in cache.row_of.items()}
    rest = read_csv(folder / "predictions.csv")
    assert len(rest) == 24
    for row in rest:
        features = torch.from_numpy(cache.rows()[row_of[prepared / "pool" / row["filepath"]]].copy())
        probabilities = (head["weight"] @ features + head["bias"]).softmax(0)
        assert row["predicted"] == head["classes"][int(probabilities.argmax())]
        assert float(row["confidence"]) == pytest.approx(probabilities.max().item(), abs=1e-3)


def test_the_same_command_again_changes_nothing(animals):
    answer(animals)
    before = snapshot(animals)
    outcome = fisher_al(*command(animals))
    assert outcome.code == 0, outcome.err
    assert "24 pool, 0 labeled" in outcome.out
    assert snapshot(animals) == before


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--method", "random"), "method balanced+margin, now random"),
        (("--seed", 1), "seed 0, now 1"),
        (("--hold-validation",), "hold_validation False, now True"),
        (("--resize", 48), "network"),
    ],
)
def test_another_command_into_the_same_folder_is_refused(more, told, animals):
    before = snapshot(animals)
    require_refusal(fisher_al(*command(animals, *more)), "round1: holds a round with", told, "new folder")
    assert snapshot(animals) == before


def test_new_images_make_another_round(animals):
    save_image(animals / "pool" / "late.png", 7)
    require_refusal(fisher_al(*command(animals)), "images of the pool 24 of", "now 25 of")


@pytest.mark.parametrize("kind", ["folder", "file", "broken", "read-only"])
def test_a_folder_that_is_something_else_is_refused(kind, animals):
    path = animals / "round2"
    if kind == "file":
        path.touch()
    else:
        path.mkdir()
        (path / ("round.json" if kind == "broken" else "notes.txt")).write_text("mine")
    before = snapshot(animals)
    told = {"file": "is a file", "broken": "round.json: broken"}.get(kind, "holds other files")
    require_refusal(fisher_al(*command(animals, out="round2")), "round2", told)
    assert snapshot(animals) == before


def test_a_round_that_was_killed_goes_on_to_the_same_picks(animals):
    shutil.rmtree(animals / "round1")
    shutil.rmtree(animals / "features")
    script = (
        "import os, signal, sys\n"
        "from fisher_al.labeling import embedding, round as rounds\n"
        "embedding.SECONDS_AT_STAKE, embedding.BATCH_SIZE = 0, 4\n"
        "moment = sys.argv.pop(1)\n"
        "def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)\n"
        "if moment == 'embedding':\n"
        "    append, times = embedding.FeatureCache.append, []\n"
        "    def fourth(*a): times.append(1); die() if len(times) == 4 else append(*a)\n"
        "    embedding.FeatureCache.append = fourth\n"
        "else:\n"
        "    setattr(rounds, moment, die)\n"
        "from fisher_al.commands.main import main\n"
        "main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for moment in ("embedding", "write_round", "write_predictions"):
        arguments = [sys.executable, "-c", script, moment, *map(str, command(animals))]
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == -signal.SIGKILL, done.stderr
        if moment == "embedding":
            [cache] = (animals / "features").iterdir()
            assert len(FeatureCache(cache, 512).row_of) == 12
    outcome = fisher_al(*command(animals))
    assert outcome.code == 0, outcome.err
    again = fisher_al(*command(animals, out="again"))
    assert again.code == 0
    for name in ("picks.csv", "labels.csv", "predictions.csv"):
        assert (animals / "round1" / name).read_bytes() == (animals / "again" / name).read_bytes()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--budget", 25), "--budget 25: only 24 images of the pool are left to pick from"),
        (("--weights", "gone.pt"), "--weights gone.pt: not found"),
        (
            ("--backbone", "resnet19"),
            "--backbone resnet19: not a classification network of torchvision; such as",
        ),
        (("--backbone", "resnet34"), "--weights"),
        (("--backbone", "timm:resnet18"), "timm is not installed; pip3 install timm"),
        (("--method", "grad+margins"), "'margins' is none of"),
        (("--near-duplicate", "2"), "'2' is not a cosine similarity"),
        (("--crop", "7"), "'7' is not a whole number"),
        (("--labels", "gone.csv"), "gone.csv: not found"),
        (("--scales", "layer9"), "scale 'layer9': ResNet has no such layer"),
    ],
)
def test_wrong_options_are_told_in_one_line(more, told, animals):
    before = snapshot(animals)
    require_refusal(fisher_al(*command(animals, *more, out="round2")), told)
    assert {k: v for k, v in snapshot(animals).items() if "round2" not in k} == before


@pytest.mark.parametrize("kind", ["text", "list", "nan", "bomb"])
def test_weights_that_are_none_are_told(kind, animals):
    path = animals / "odd.pt"
    state = torch.load(animals / "weights.pt", weights_only=True)
    if kind == "text":
        path.write_text("weights")
    elif kind == "list":
        torch.save([1, 2], path)
    elif kind == "nan":
        state["layer1.0.conv1.weight"][0, 0] = torch.nan
        torch.save(state, path)
    else:
        state["layer1.0.conv1.weight"] = torch.zeros(1).expand(10**9)
        torch.save(state, path)
    require_refusal(fisher_al(*command(animals, "--weights", path, out="round2")), "odd.pt")


def test_weights_that_cannot_be_downloaded_are_told_with_their_place(animals, monkeypatch):
    def no_network(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(animals / "hub"))
    arguments = [a for a in command(animals, out="round2") if a not in ("--weights", animals / "weights.pt")]
    outcome = fisher_al(*arguments)
    require_refusal(
        outcome, "https://download.pytorch.org/models/resnet18", str(animals / "hub"), "--weights"
    )


def test_a_class_without_a_readable_validation_image_is_told(animals):
    for path in (animals / "validation" / "bee").iterdir():
        path.write_bytes(b"no image")
    require_refusal(fisher_al(*command(animals, out="round2")), "class 'bee'", "0.jpg", "no image")


def test_unreadable_images_are_passed_over_and_listed(animals):
    (animals / "pool" / "empty.jpg").touch()
    (animals / "pool" / "junk.png").write_bytes(os.urandom(99))
    cut = (animals / "pool" / "day 0" / "a00.png").read_bytes()
    (animals / "pool" / "cut.png").write_bytes(cut[: len(cut) // 2])
    outcome = fisher_al(*command(animals, out="round2"))
    assert outcome.code == 0, outcome.err
    listed = {row["filepath"] for row in read_csv(animals / "round2" / "unreadable.csv")}
    assert listed == {"empty.jpg", "junk.png", "cut.png"}
    assert not listed & set(picked(animals, "round2"))
    assert "3 passed over" in outcome.out


def test_skipped_images_are_not_asked_for_again(animals):
    keys = picked(animals, "round1")
    write_csv(
        animals / "answers.csv", ("filepath", "label"), [(keys[0], "skip"), (keys[1], ""), (keys[2], "ant")]
    )
    outcome = fisher_al(*command(animals, "--labels", animals / "answers.csv", out="round2", budget=22))
    assert outcome.code == 0, outcome.err
    found = set(picked(animals, "round2"))
    assert len(found) == 22
    assert keys[0] not in found
    assert keys[1] in found
    assert keys[2] not in found


def test_layers_of_the_network_can_be_compared(animals):
    answer(animals)
    labels = ("--labels", animals / "round1" / "labels.csv", "--method", "gradFmap")
    for out, scales in (("deep", ("layer3", "pooled")), ("pooled", ("pooled",)), ("default", ())):
        given = ("--scales", *scales) if scales else ()
        outcome = fisher_al(*command(animals, *labels, *given, out=out))
        assert outcome.code == 0, outcome.err
    assert picked(animals, "pooled") == picked(animals, "default")
    assert not (animals / "deep" / "descriptors.pt").exists()
    scores = [float(row["score"]) for row in read_csv(animals / "deep" / "picks.csv")]
    assert max(scores) <= 1


def test_names_from_files_reach_the_terminal_without_control_characters(animals):
    shutil.copytree(animals / "validation" / "ant", animals / "validation" / "\x1b[31m red\nline")
    outcome = fisher_al(*command(animals, out="round2"))
    assert outcome.code == 0, outcome.err
    assert "\x1b" not in outcome.out
    assert not list(animals.parent.glob("*red*"))


def test_the_page_of_a_round_is_opened(animals, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    assert fisher_al("label", animals / "round1").code == 0
    assert opened == [(animals / "round1" / "index.html").absolute().as_uri()]
    require_refusal(fisher_al("label", animals), "index.html: not found")
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    assert "no browser found" in fisher_al("label", animals / "round1").out


def test_help_and_unknown_commands():
    for arguments in ((), ("--help",)):
        assert "pick" in fisher_al(*arguments).out
    require_refusal(fisher_al("pikc"), "'pikc': not a command of fisher-al; it has pick, simulate, label")
    for name in ("pick", "simulate", "label"):
        assert f"usage: fisher-al {name}" in fisher_al(name, "--help").out


def test_a_picture_in_odd_colours_is_shown_and_embedded(animals):
    Image.new("CMYK", (40, 40), (10, 200, 30, 0)).save(animals / "pool" / "cmyk.jpg")
    Image.new("P", (1, 1)).save(animals / "pool" / "dot.png")
    outcome = fisher_al(*command(animals, out="round2", budget=26))
    assert outcome.code == 0, outcome.err
    assert {"cmyk.jpg", "dot.png"} <= set(picked(animals, "round2"))

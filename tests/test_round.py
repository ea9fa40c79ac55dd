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
from PIL import Image
from rounds import (
    CLASSES,
    CROP,
    answer,
    command,
    fisher_al,
    make_animals,
    picked,
    require_refusal,
    save_weights,
    write_csv,
)

from fisher_al.labeling.cache import FeatureCache

OUT = {"picks.csv", "labels.csv", "label_studio.json", "index.html", "report.json", "round.json"}
OUT |= {"head.pt", "predictions.csv"}


def test_a_round_has_all_its_files(played_round):
    folder = played_round / "round1"
    assert {path.name for path in folder.iterdir()} == OUT | {"round.lock"}
    picks = read_csv(folder / "picks.csv")
    assert list(picks[0]) == [
        *("filepath", "rank", "score", "predicted", "confidence"),
        *("matched_filepath", "matched_label"),
    ]
    assert [row["rank"] for row in picks] == [str(n) for n in range(1, 7)]
    known = {row["filepath"] for row in read_csv(played_round / "truth.csv")}
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
    told = ("--labels", animals / "round1" / "labels.csv", "--method", "balanced+gradFmap")
    outcome = fisher_al(*command(animals, *told, out="round2"))
    assert outcome.code == 0, outcome.err
    numbers = json.loads((animals / "round2" / "report.json").read_text())
    images = numbers["images"]
    assert (images["pool"], images["labeled"], images["validation"], images["picked"]) == (24, 6, 15, 6)
    assert not set(picked(animals, "round2")) & set(picked(animals, "round1"))
    rest = {row["filepath"] for row in read_csv(animals / "round2" / "predictions.csv")}
    assert rest == {row["filepath"] for row in read_csv(animals / "truth.csv")} - set(
        picked(animals, "round1")
    )
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


def test_predictions_are_those_of_the_head_that_is_kept(played_round):
    folder = played_round / "round1"
    head = torch.load(folder / "head.pt", weights_only=True)
    assert head["classes"] == list(CLASSES)
    assert head["crop"] == CROP
    [cache_folder] = (path for path in (played_round / "features").iterdir())
    cache = FeatureCache(cache_folder, 512)
    row_of = {Path(path): row for (path, _, _), row in cache.row_of.items()}
    rest = read_csv(folder / "predictions.csv")
    assert len(rest) == 24
    for row in rest:
        features = torch.from_numpy(cache.rows()[row_of[played_round / "pool" / row["filepath"]]].copy())
        probabilities = (head["weight"] @ features + head["bias"]).softmax(0)
        assert row["predicted"] == head["classes"][int(probabilities.argmax())]
        assert float(row["confidence"]) == pytest.approx(probabilities.max().item(), abs=1e-3)
    told = {row["filepath"]: row for row in rest}
    for row in read_csv(folder / "picks.csv"):
        assert row["predicted"] == told[row["filepath"]]["predicted"]
        assert float(row["confidence"]) == pytest.approx(float(told[row["filepath"]]["confidence"]), abs=2e-4)


def test_the_same_command_again_changes_nothing(animals):
    answer(animals)
    before = snapshot(animals)
    outcome = fisher_al(*command(animals))
    assert outcome.code == 0, outcome.err
    assert "24 pool, 0 labeled" in outcome.out
    assert snapshot(animals) == before


def test_a_round_whose_page_is_gone_makes_it_again(animals):
    answer(animals)
    before = snapshot(animals / "round1")
    (animals / "round1" / "index.html").unlink()
    outcome = fisher_al(*command(animals))
    assert outcome.code == 0, outcome.err
    after = snapshot(animals / "round1")
    assert {**after, "report.json": b""} == {**before, "report.json": b""}  # that has times


def test_a_round_of_fewer_picks_than_asked_for_says_why(animals):
    outcome = fisher_al(*command(animals, "--near-duplicate", 0.001, out="few"))
    assert outcome.code == 0, outcome.err
    assert "Only 0 of 6 picks: all other images are near-duplicates; a larger" in outcome.out
    assert "label them" not in outcome.out
    # without a match, no validation image has a better score than it deserves
    told = json.loads((animals / "few" / "report.json").read_text())["accuracy"]
    assert [*told] == ["how", "all validation images"]
    assert "too good" not in told["how"]
    assert "No validation image" not in outcome.out


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
    for name in (".picks.0123456789ab.tmp.csv", ".descriptors.0123456789ab.tmp.pt"):
        (animals / "round1" / name).write_text("half of it")
    outcome = fisher_al(*command(animals))
    assert outcome.code == 0, outcome.err
    assert not list((animals / "round1").glob(".*.tmp*"))
    again = fisher_al(*command(animals, out="again"))
    assert again.code == 0
    for name in ("picks.csv", "labels.csv", "predictions.csv"):
        assert (animals / "round1" / name).read_bytes() == (animals / "again" / name).read_bytes()


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


def test_a_picture_in_odd_colours_is_shown_and_embedded(animals):
    Image.new("CMYK", (40, 40), (10, 200, 30, 0)).save(animals / "pool" / "cmyk.jpg")
    Image.new("P", (1, 1)).save(animals / "pool" / "dot.png")
    outcome = fisher_al(*command(animals, out="round2", budget=26))
    assert outcome.code == 0, outcome.err
    assert {"cmyk.jpg", "dot.png"} <= set(picked(animals, "round2"))


def test_a_report_tells_of_images_that_no_head_could_get_right(tmp_path):
    make_animals(tmp_path, in_pool=2, in_validation=1)
    save_weights(tmp_path / "weights.pt")
    assert fisher_al(*command(tmp_path, budget=2)).code == 0
    told = json.loads((tmp_path / "round1" / "report.json").read_text())["accuracy"]
    assert told["all validation images"]["accuracy"] == 0
    assert "3 cannot be right, as no other image of their class was there" in told["how"]
    [first, *_] = picked(tmp_path, "round1")
    labels = write_csv(tmp_path / "slip.csv", ("filepath", "label"), [(first, "Brid")])
    outcome = fisher_al(*command(tmp_path, "--labels", labels, out="round2", budget=2))
    assert "No validation image of Brid: accuracies leave such a class out" in outcome.out

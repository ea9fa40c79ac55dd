"""What `fisher-al pick` refuses: one line, exit code 2, nothing overwritten."""

import os

import pytest
import torch
from conftest import snapshot
from rounds import command, fisher_al, require_refusal, save_image, write_csv


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--method", "random"), "method balanced+margin, now random"),
        (("--seed", 1), "seed 0, now 1"),
        (("--hold-validation",), "method balanced+margin, now gradFmap"),
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


@pytest.mark.parametrize("kind", ["folder", "file", "broken"])
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
        (("--scales", "layer3"), "--scales: balanced+margin compares no layers; choose --method none, grad"),
        (("--workers", "99999"), "'99999' is not a whole number from 1 to 1,024"),
        (("--nproc", "99999"), "'99999' is not a whole number from 1 to 1,024"),
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


def test_another_command_may_follow_one_that_came_to_no_picks(animals):
    whole = (animals / "validation" / "bee" / "0.jpg").read_bytes()
    for path in (animals / "validation" / "bee").iterdir():
        path.write_bytes(b"no image")
    assert fisher_al(*command(animals, out="round2")).code == 2
    (animals / "validation" / "bee" / "0.jpg").write_bytes(whole)
    outcome = fisher_al(*command(animals, "--seed", 1, out="round2"))
    assert outcome.code == 0, outcome.err


def test_what_a_killed_process_was_writing_is_no_other_file(animals):
    (animals / "round2").mkdir()
    (animals / "round2" / ".round.0123456789ab.tmp.json").write_text("{")
    outcome = fisher_al(*command(animals, out="round2"))
    assert outcome.code == 0, outcome.err
    assert not list((animals / "round2").glob(".*"))


@pytest.mark.parametrize("content", ["{", "{}", '{"images": {"pool": "x"}, "accuracy": {}, "classes": []}'])
def test_a_broken_report_is_told(content, animals):
    (animals / "round1" / "report.json").write_text(content)
    require_refusal(fisher_al(*command(animals)), "report.json: broken; name a new folder with --out")


def test_a_pool_in_a_folder_that_is_no_utf8_can_be_picked_from(animals):
    odd = animals / os.fsdecode(b"caf\xe9")
    (animals / "pool").rename(odd)
    arguments = [odd if a == animals / "pool" else a for a in command(animals, out="round2")]
    outcome = fisher_al(*arguments)
    assert outcome.code == 0, outcome.err
    assert "caf%E9" in (animals / "round2" / "label_studio.json").read_text()


def test_errors_hold_nothing_that_a_terminal_obeys(animals):
    labels = write_csv(animals / "l.csv", ("filepath", "label"), [("\x1b[2J\x9b\u202e\r\n.jpg", "cat")])
    outcome = fisher_al(*command(animals, "--labels", labels, out="round2"))
    require_refusal(outcome, "l.csv, line 3", "\\x1b[2J\\x9b\\u202e")
    assert outcome.err.rstrip("\n").isprintable()


def test_help_and_unknown_commands():
    for arguments in ((), ("--help",)):
        assert "pick" in fisher_al(*arguments).out
    require_refusal(fisher_al("pikc"), "'pikc': not a command of fisher-al; it has pick, simulate, label")
    for name in ("pick", "simulate", "label"):
        assert f"usage: fisher-al {name}" in fisher_al(name, "--help").out

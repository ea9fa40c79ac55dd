"""run.py --repair: what is broken goes, with what relies on it, and nothing else."""

from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import torch
from conftest import call, require_one_line, snapshot
from test_runner import campaign

import fisher_al.running.repair
from fisher_al.experiment import parse_method
from fisher_al.files.layout import Layout
from fisher_al.files.locks import hold
from fisher_al.running.repair import _delete
from mnist.experiment import DIGITS


def test_repair_of_sound_files_changes_nothing(folder):
    assert call("run.py", *campaign(folder, "--methods", "random", "none/20")).code == 0
    before = snapshot(folder)
    for extra in ((), ("--initial", "--epochs", 2)):
        outcome = call("run.py", *campaign(folder, "--methods", "random", "none/20", "--repair", *extra))
        assert outcome.code == 0
        assert "deleted" not in outcome.out
    assert snapshot(folder) == before


def test_repair_leaves_alone_what_another_process_works_on(folder):
    assert call("run.py", *campaign(folder, "--methods", "random")).code == 0
    layout, random = Layout(folder / "DIGITS", "run0", 10.0), parse_method("random", DIGITS)
    layout.index_list(random, 1, 10).write_bytes(b"broken")
    with hold(layout.chain_log(random).with_suffix(".lock")):
        outcome = call("run.py", *campaign(folder, "--methods", "random", "--repair"))
    assert "not checked, as another process works on it: run0 ir 10 random" in outcome.out
    assert layout.index_list(random, 1, 10).read_bytes() == b"broken"


def test_repair_deletes_nothing_where_memory_is_short(folder, monkeypatch):
    before = snapshot(folder)
    monkeypatch.setattr(torch, "load", Mock(side_effect=MemoryError()))
    require_one_line(call("run.py", *campaign(folder, "--repair")), "cannot be read now: MemoryError")
    assert snapshot(folder) == before


def test_what_another_repair_has_made_anew_is_not_deleted(folder, monkeypatch):
    path = Layout(folder / "DIGITS", "run0", 10.0).pool()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    held = fisher_al.running.repair.hold

    @contextmanager
    def after_another(lock, wait):
        with held(lock, wait):
            path.write_bytes(whole)
            yield

    monkeypatch.setattr("fisher_al.running.repair.hold", after_another)
    outcome = call("run.py", *campaign(folder, "--methods", "random", "--repair"))
    assert outcome.code == 0, outcome.err
    assert "deleted" not in outcome.out
    assert path.read_bytes() == whole


def test_repair_of_an_initial_model_deletes_what_started_from_it_and_nothing_else(folder):
    assert call("run.py", *campaign(folder, "--methods", "random")).code == 0
    assert call("run.py", *campaign(folder, "--methods", "random", "-unsup", 0)).code == 0
    layout, random = Layout(folder / "DIGITS", "run0", 10.0), parse_method("random", DIGITS)
    other = Layout(folder / "DIGITS", "run0", 10.0, pretrained=False)
    untouched = other.best_checkpoint(random, 2, 20).read_bytes()
    whole = torch.load(layout.initial_checkpoint(), weights_only=True)
    layout.initial_checkpoint().write_bytes(b"broken")
    outcome = call("run.py", *campaign(folder, "--initial", "--repair", "--epochs", 2))
    assert outcome.code == 0, outcome.err
    assert "and 4 files that rely on it" in outcome.out
    assert not layout.index_list(random, 1, 10).exists()
    assert not layout.best_checkpoint(random, 2, 20).exists()
    assert other.best_checkpoint(random, 2, 20).read_bytes() == untouched
    remade = torch.load(layout.initial_checkpoint(), weights_only=True)
    assert all(
        torch.equal(remade["state_dict"][name], weight) for name, weight in whole["state_dict"].items()
    )


def test_a_repair_that_is_killed_is_repaired(folder, monkeypatch):
    options = campaign(folder, "--methods", "none/20")
    assert call("run.py", *options).code == 0
    before, layout = snapshot(folder), Layout(folder / "DIGITS", "run0", 10.0)
    path = layout.descriptors("val", parse_method("none/20", DIGITS))
    path.write_bytes(path.read_bytes()[:-1000])
    path.with_name(f".{path.stem}.0123456789ab.tmp.pt").write_bytes(b"what the killed one was writing")

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr("fisher_al.running.repair.gen_descr", interrupted)
        assert call("run.py", *options, "--repair").code == 130
    assert call("run.py", *options, "--repair").code == 0
    assert snapshot(folder) == before


def test_repair_of_an_initial_model_waits_for_chains_that_start_from_it(folder, layout):
    layout.initial_checkpoint().write_bytes(b"broken")
    with hold(layout.chain_log(parse_method("random", DIGITS)).with_suffix(".lock")):
        outcome = call(
            "run.py", "--dataset", "DIGITS", "--datadir", folder, "--run-stop", 1, "--initial", "--repair"
        )
    assert "not checked, as another process works on it: run0 ir 10 member 0 pretrained" in outcome.out
    assert layout.initial_checkpoint().read_bytes() == b"broken"


def test_what_relies_on_a_broken_file_is_deleted_before_it(monkeypatch):
    order = []
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok: order.append(path.name))
    _delete([Path("broken"), Path("later")], lambda text: None)
    assert order == ["later", "broken"]

"""What can be known of a campaign: logs, --status, --cost."""

import json
import shutil
from dataclasses import replace

import pytest
from conftest import call, snapshot

from fisher_al.chain import Chain
from fisher_al.errors import UserError
from fisher_al.experiment import parse_method
from fisher_al.files.layout import Layout
from fisher_al.files.locks import hold
from fisher_al.files.run_log import append, last_accuracy, logged, read, stage_entries
from fisher_al.running.status import task_state
from fisher_al.running.tasks import ChainTask
from mnist.experiment import DIGITS

METHODS = ("random", "none/20", "varMC")


def campaign(folder, *extra):
    size = ("--run-stop", 1, "--iterations", 2, "--augment-size", 10, "--epochs", 1, "-smp", 4)
    return ("--dataset", "DIGITS", "--datadir", folder, *size, "--methods", *METHODS, *extra)


@pytest.fixture(scope="module")
def finished(digits_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("progress") / "data"
    shutil.copytree(digits_folder, folder)
    assert call("run.py", *campaign(folder)).code == 0
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "data")
    return tmp_path / "data"


def layout_of(folder):
    return Layout(folder / "DIGITS", "run0", 10.0)


def log_of(folder, token):
    return layout_of(folder).chain_log(parse_method(token, DIGITS))


def test_the_log_tells_time_memory_and_accuracy_of_every_stage(finished):
    entries = read(log_of(finished, "none/20"))
    assert [(entry["event"], entry.get("batch")) for entry in entries] == [
        ("start", None),
        *(("writes descriptors", 0), ("gen_descr", 0), ("main_descr", 0)),
        *(("writes descriptors", 1), ("gen_descr", 1), ("main_descr", 1)),
    ]
    assert {"time", "host", "pid", "device", "threads", "versions"} <= entries[0].keys()
    assert {"python", "torch", "numpy"} <= entries[0]["versions"].keys()
    for entry in (*entries[2:4], *entries[5:]):
        assert 0 < entry["seconds"] < 600
        assert 50e6 < entry["peak_memory"] < 64e9
    for entry in entries[3::3]:
        assert 0 < entry["acc_last"] <= entry["acc"] <= 100
    assert last_accuracy(log_of(finished, "none/20"), None, before=2) == entries[-1]["acc"]
    [start, made] = read(layout_of(finished).initial_log())
    assert (start["event"], made["event"]) == ("start", "unsup")
    assert made["acc"] > 0


def test_the_scripts_of_the_stages_write_the_log_too(folder):
    step = ("--dataset", "DIGITS", "--datadir", folder, "-ir", 10, "-as", 10, "-dl", 20, "-sub", "grad")
    assert call("gen_descr.py", *step).code == 0
    assert call("main_descr.py", *step, "--epochs", 1).code == 0
    entries = read(log_of(folder, "grad/20"))
    assert [entry["event"] for entry in entries] == ["writes descriptors", "gen_descr", "main_descr"]
    assert entries[2]["acc"] > 0


def test_a_torn_line_costs_only_itself(tmp_path):
    path = tmp_path / "log" / "x.jsonl"
    append(path, "main_descr", batch=0, acc=50.0)
    with open(path, "a") as file:
        file.write('{"time": "2020-01-01", "event": "main_de')
    append(path, "main_descr", batch=1, acc=60.0)
    append(path, "main_descr", batch=1, member=1, acc=70.0)
    append(path, "main_descr", batch=1, acc=62.0)  # done again: the last time counts
    assert [entry["acc"] for entry in read(path)] == [50, 60, 70, 62]
    assert stage_entries(path, "main_descr").keys() == {(0, 0), (1, 0), (1, 1)}
    assert last_accuracy(path, None, before=2) == 66
    assert last_accuracy(path, None, before=1) == 50  # what came after it is gone
    assert len(path.read_text().splitlines()) == 5


def test_budgets_that_share_a_log_are_told_apart(tmp_path):
    path = tmp_path / "x.jsonl"
    append(path, "main_descr", batch=0, acc=50.0)  # which no line said in earlier versions
    append(path, "main_descr", batch=1, augment_size=25, acc=60.0)
    append(path, "main_descr", batch=2, augment_size=40, acc=80.0)
    assert [last_accuracy(path, budget, before=3) for budget in (25, 40, 99)] == [60, 80, 50]
    assert stage_entries(path, "main_descr", 25).keys() == {(0, 0), (1, 0)}


def test_a_failed_stage_is_not_noted(tmp_path):
    path = tmp_path / "a.jsonl"
    with logged(path, "main_descr", batch=0) as note:
        note["acc"] = 1.0

    def fail():
        with logged(path, "main_descr", batch=1):
            raise UserError("no")

    with pytest.raises(UserError, match="no"):
        fail()
    [entry] = read(path)
    assert (entry["batch"], entry["acc"]) == (0, 1)


def test_status_tells_every_state_and_changes_nothing(folder):
    layout = layout_of(folder)
    method = parse_method("none/20", DIGITS)
    layout.best_checkpoint(method, 2, 20).unlink()
    append(log_of(folder, "none/20"), "failed", error="no room", augment_size=10)
    append(log_of(folder, "grad/20"), "failed", error="diverged", augment_size=11)
    layout.best_checkpoint(parse_method("varMC", DIGITS), 2, 20).unlink()
    [_, first, _] = (entry.get("acc", 0) for entry in read(log_of(folder, "varMC"))[::2])
    append(log_of(folder, "varMC"), "main_descr", batch=0, augment_size=11, acc=1, seconds=70_000)
    before = snapshot(folder)
    arguments = campaign(folder, "grad/20", "gradAbl/20", "--status")
    with hold(log_of(folder, "gradAbl/20").with_suffix(".lock")):
        outcome = call("run.py", *arguments)
    assert outcome.code == 0
    rows = {line.split()[2]: line.split()[3:] for line in outcome.out.splitlines() if line.startswith("run0")}
    assert rows["random"][:2] == ["done", "2/2"]
    assert rows["none/20"][:2] == ["failed", "1/2"]
    assert rows["none/20"][-2:] == ["no", "room"]
    assert rows["varMC"][:3] == ["begun", "1/2", f"{first:.2f}"]  # not of the second, whose file is gone
    assert float(rows["varMC"][3]) < 600
    assert rows["grad/20"][:2] == ["left", "0/2"]
    assert rows["gradAbl/20"][:2] == ["running", "0/2"]
    assert "5 chains: 1 done, 1 running, 1 failed, 1 begun, 1 left" in outcome.out
    assert snapshot(folder) == before
    outcome = call("run.py", *arguments, "--initial")
    assert "2 initial models: 2 done" in outcome.out


def test_status_of_nothing(tmp_path):
    outcome = call("run.py", *campaign(tmp_path, "--status"))
    assert "3 chains: 0 done, 0 running, 0 failed, 0 begun, 3 left" in outcome.out
    assert not list(tmp_path.iterdir())


def test_a_process_that_runs_is_named(folder):
    layout_of(folder).best_checkpoint(parse_method("none/20", DIGITS), 2, 20).unlink()
    start = read(log_of(folder, "none/20"))[0]
    with hold(log_of(folder, "none/20").with_suffix(".lock")):
        outcome = call("run.py", *campaign(folder, "--status"))
    assert "running  1/2     " in outcome.out.replace("running    ", "running  ")
    assert f"process {start['pid']} on {start['host']} since {start['time']}" in outcome.out


def test_cost_by_method(finished, tmp_path):
    arguments = [argument for argument in campaign(finished) if argument not in ("--epochs", 1)]
    arguments = ("--dataset", "DIGITS", "--datadir", finished, "--run-stop", 1, "--iterations", 2, "-as", 10)
    arguments += ("--methods", *METHODS, "grad/20", "--cost", "--out", tmp_path)
    outcome = call("run_plot.py", *arguments)
    assert outcome.code == 0, outcome.err
    assert {path.name for path in tmp_path.iterdir()} == {
        f"DIGITS_ir_10_cost.{s}" for s in ("png", "pdf", "json")
    }
    costs = json.loads((tmp_path / "DIGITS_ir_10_cost.json").read_text())["costs"]
    assert [cost["method"] for cost in costs] == list(METHODS)  # of the fourth there is no log
    for cost, token in zip(costs, METHODS, strict=True):
        assert (cost["runs"], cost["iterations"]) == (1, 2)
        for stage, mean in cost["seconds per iteration"].items():
            seconds = [entry["seconds"] for entry in read(log_of(finished, token)) if entry["event"] == stage]
            assert mean == pytest.approx(sum(seconds) / 2)
        assert f"| {token}" in outcome.out or f"\n{token} " in outcome.out


def test_cost_without_logs_or_with_data(tmp_path):
    common = ("--dataset", "DIGITS", "--datadir", tmp_path, "--cost")
    for extra, told in (
        ((), "no logs of these runs; run run.py first"),
        (("--data", "x"), "leave --data out"),
    ):
        outcome = call("run_plot.py", *common, *extra)
        assert outcome.code == 2
        assert told in outcome.err


def test_ensembles_cost_what_their_members_cost_together(tmp_path):
    from fisher_al.commands.options import CampaignOptions
    from fisher_al.commands.plan import campaign_chains
    from fisher_al.results.cost import collect_costs

    options = CampaignOptions(datadir=tmp_path, methods=("varMC",), ensemble_size=(2,), run_stop=2)
    chains = [replace(chain, iterations=3) for chain in campaign_chains(DIGITS, options)]
    for chain, scale in zip(chains, (1, 3), strict=True):
        for batch in (0, 1):
            for member in chain.members:
                append(chain.log, "gen_descr", batch=batch, member=member, seconds=scale, peak_memory=7)
                append(chain.log, "main_descr", batch=batch, member=member, seconds=10 * scale, peak_memory=9)
        append(chain.log, "gen_descr", batch=2, member=0, seconds=100)  # broken off: does not count
    [cost] = collect_costs(chains)
    assert (cost.runs, cost.iterations, cost.peak_memory) == (2, 4, 9)
    assert cost.seconds == {"gen_descr": 4, "main_descr": 40}


def test_status_is_of_what_happened_last(tmp_path):
    chain = Chain.by_protocol(
        DIGITS, Layout(tmp_path / "DIGITS", "run0", 10.0), parse_method("random", DIGITS)
    )
    for path in chain.batch_files(1):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    append(chain.log, "start", pid=1, host="before")
    append(chain.log, "failed", error="no room", augment_size=20)
    append(chain.log, "start", pid=2, host="now")
    assert task_state(ChainTask(chain)) == ("begun", "")
    with hold(ChainTask(chain).lock):
        state, told = task_state(ChainTask(chain))
    assert (state, told.startswith("process 2 on now since ")) == ("running", True)

"""The runner: what is wrong with one chain leaves the others alone, and killed workers are retried once."""

import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT, call, require_one_line, snapshot

from fisher_al.chain import Chain
from fisher_al.commands.run import default_jobs, refused_chains, report_failures
from fisher_al.errors import UserError
from fisher_al.experiment import parse_method
from fisher_al.files.layout import Layout
from fisher_al.files.locks import hold
from fisher_al.files.storage import save_tensors
from fisher_al.running import runner
from fisher_al.running.runner import KILLED, Processes, prepare, run_tasks
from fisher_al.running.tasks import ChainTask, InitialTask, Outcome, attempt
from fisher_al.stages.unsup import InitialModel
from fisher_al.training.checkpoints import load_checkpoint
from mnist.experiment import DIGITS, MNIST


class OneSlot:
    """Workers whose processes end as told: a list of outcomes, or None for killed, for every task."""

    slots, description = 1, ""

    def __init__(self, ends):
        self.ends, self.submitted = ends, []

    def submit(self, task):
        self.submitted.append(task.name)
        future, end = Future(), self.ends[task.name].pop(0)
        if end is None:
            future.set_exception(BrokenProcessPool())
        elif isinstance(end, Exception):
            future.set_exception(end)
        else:
            future.set_result(end)
        return future

    def stop(self, now):
        self.stopped = now


def tasks_named(*names):
    return [SimpleNamespace(name=name, done=0, total=1) for name in names]


def run_with(ends):
    workers = OneSlot(ends)
    failed = run_tasks(tasks_named(*ends), 1, "chain", workers)
    assert workers.stopped is False
    return workers.submitted, {task.name: outcome for task, outcome in failed}


def test_a_killed_task_is_tried_once_more_and_then_given_up():
    done = Outcome()
    submitted, failed = run_with({"a": [None, None], "b": [None, done], "c": [done]})
    assert submitted == ["a", "a", "b", "b", "c"]
    assert failed == {"a": Outcome(error=KILLED)}


def test_a_task_of_another_process_is_taken_up_later(monkeypatch):
    monkeypatch.setattr(runner, "PAUSE", 0.01)
    busy = Outcome(busy=True)
    submitted, failed = run_with({"a": [busy, busy, Outcome()], "b": [Outcome(error="no")]})
    assert submitted == ["a", "b", "a", "a"]
    assert failed == {"b": Outcome(error="no")}


def test_a_machine_lost_for_good_is_told():
    _, failed = run_with({"a": [RuntimeError("the node died\nlong story")], "b": [Outcome()]})
    assert failed["a"].error == "lost with its process or machine (the node died)"


def test_what_no_other_process_can_take_is_told(tmp_path):
    unsendable = replace(DIGITS, source=replace(DIGITS.source, read=lambda folder: None))
    model = InitialModel(
        unsendable, Layout(tmp_path / "DIGITS", "run0", 10.0), 0, DIGITS.pretraining, 0, "cpu"
    )
    [(_, outcome)] = run_tasks([InitialTask(model)], 2, "model")
    assert re.fullmatch(r"no other process can take it \(.*<lambda>.*\); .*--jobs 1", outcome.error)


def test_progress_tells_how_long_a_unit_takes(monkeypatch, capsys):
    monkeypatch.setattr(runner, "PAUSE", 0.02)
    start = time.monotonic()

    class Slow:
        name, total = "a", 3
        done = property(lambda self: min(3, int((time.monotonic() - start) / 0.5)))

    with ThreadPoolExecutor() as threads:
        workers = OneSlot({})
        workers.description = "side by side"
        workers.submit = lambda task: threads.submit(lambda: time.sleep(1.6) or Outcome())
        assert run_tasks([Slow()], 1, "chain", workers) == []
    text = capsys.readouterr().err
    paces = [float(pace) for pace in re.findall(r"([\d.]+)s/chain", text)]
    paces += [1 / float(rate) for rate in re.findall(r"([\d.]+)chain/s", text)]
    assert "3/3" in text
    assert min(paces) >= 0.49  # as rounded


def campaign(folder, *extra):
    size = ("--run-stop", 1, "--iterations", 2, "--augment-size", 10, "--epochs", 1)
    return ("--dataset", "DIGITS", "--datadir", folder, *size, *extra)


def test_a_broken_chain_leaves_the_others_alone(folder):
    shutil.copytree(folder / "DIGITS" / "run0", folder / "DIGITS" / "run1")
    assert call("run.py", *campaign(folder, "--run-stop", 3, "--run-start", 2, "--initial")).code == 0
    broken = Layout(folder / "DIGITS", "run1", 10.0).initial_checkpoint()
    broken.write_bytes(broken.read_bytes()[:1000])
    outcome = call("run.py", *campaign(folder, "--run-stop", 3, "--methods", "random"))
    assert outcome.code == 2
    assert re.search(r"run1 ir 10 random: .*init_unsup.*truncated.*run\.py --repair", outcome.err)
    assert "2/3" in outcome.out  # the results of the others are told
    random = parse_method("random", DIGITS)
    reached = [
        Layout(folder / "DIGITS", run, 10.0).best_checkpoint(random, 2, 20).is_file()
        for run in ("run0", "run1", "run2")
    ]
    assert reached == [True, False, True]


def test_a_diverged_chain_leaves_the_others_alone(folder):
    shutil.copytree(folder / "DIGITS" / "run0", folder / "DIGITS" / "run1")
    path = Layout(folder / "DIGITS", "run1", 10.0).initial_checkpoint()
    checkpoint = load_checkpoint(path, "")
    checkpoint["state_dict"]["fc1.weight"] *= 1e38
    save_tensors(checkpoint, path)
    outcome = call("run.py", *campaign(folder, "--run-stop", 2, "--methods", "random"))
    assert outcome.code == 2
    told = r"run1 ir 10 random b=1: the loss became NaN or infinite in epoch 1 at learning rate 0\.05"
    assert re.search(told, outcome.err)
    assert "run0 ir 10 random b=1: the loss" not in outcome.err
    random = parse_method("random", DIGITS)
    assert Layout(folder / "DIGITS", "run0", 10.0).best_checkpoint(random, 2, 20).is_file()
    assert not list((folder / "DIGITS" / "run1").glob("index_list*"))


def test_expected_failures_are_told_beside_unexpected_ones(folder, capsys):
    layout = Layout(folder, "run0", 10.0)
    task = InitialTask(InitialModel(DIGITS, layout, 0, DIGITS.pretraining, 0, "cpu"))
    failed = [(task, Outcome(error="disk full")), (task, Outcome(error="'x'", trace="Traceback: KeyError"))]
    assert report_failures(failed) == 1
    told = capsys.readouterr().err
    assert "Traceback: KeyError" in told
    assert "error: run0 ir 10 member 0 pretrained: disk full\n" in told


def test_pretraining_that_diverges_is_told(folder):
    common = ("--dataset", "DIGITS", "--datadir", folder, "--run-start", 1, "--run-stop", 2, "--epochs", 2)
    outcome = call("run.py", *common, "--initial", "--lr", 1e30)
    assert outcome.code == 2
    assert "run1 ir 10 member 0" in outcome.err
    assert "the loss became NaN or infinite in epoch 1 at learning rate 1e+30" in outcome.err
    assert Layout(folder / "DIGITS", "run1", 10.0, pretrained=False).initial_checkpoint().is_file()
    assert not Layout(folder / "DIGITS", "run1", 10.0).initial_checkpoint().exists()


def test_many_failures_of_one_cause_are_one_line(folder):
    for start in (True, False):
        Layout(folder / "DIGITS", "run0", 10.0, pretrained=start).initial_checkpoint().unlink()
    outcome = call("run.py", *campaign(folder, "--methods", "random", "grad/20", "varMC"))
    assert outcome.code == 2
    assert outcome.err.count("not found") == 1
    assert "run0 ir 10 random and 2 more: " in outcome.err


def test_a_stage_does_not_work_on_a_chain_of_another_process(folder):
    layout = Layout(folder / "DIGITS", "run0", 10.0)
    step = ("--dataset", "DIGITS", "--datadir", folder, "-ir", 10, "-dl", 20)
    before = snapshot(folder)
    with hold(layout.chain_log(parse_method("gradFmap/20", DIGITS)).with_suffix(".lock")):
        outcome = call("gen_descr.py", *step)
    assert outcome.code == 2
    assert "gradFmap_aug_topKandPccFprGrad_L_20: another process works on it" in outcome.err
    assert snapshot(folder) == before


def test_files_are_not_counted_every_epoch(folder, monkeypatch):
    counts, done = [], Chain.iterations_done.fget
    monkeypatch.setattr(Chain, "iterations_done", property(lambda chain: counts.append(1) or done(chain)))
    monkeypatch.setattr("fisher_al.running.runner.PAUSE", 1000)
    options = ("--methods", "random", "--iterations", 1, "--epochs", 60, "--jobs", 1)
    outcome = call("run.py", "--dataset", "DIGITS", "--datadir", folder, "--run-stop", 1, *options)
    assert outcome.code == 0, outcome.err
    assert len(counts) < 30
    assert "1/1" in outcome.err.replace("\r", "\n").splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("--cluster", "127.0.0.1:9"),
            r"--cluster 127.0.0.1:9: no Ray cluster answers there .*ray start --head",
        ),
        (("--cluster-cpus", "0"), "'0' is not a whole number from 1 to 1,000,000,000,000"),
        (("--cluster-gpus", "-1"), "'-1' is not a number of GPUs"),
        (
            ("--cluster-cpus", "8"),
            "--cluster-cpus, --cluster-gpus: of a task on a cluster; give its --cluster",
        ),
        (("--cluster", "auto", "--jobs", "2"), "--jobs: not with --cluster"),
    ],
)
def test_wrong_clusters(tmp_path, arguments, told):
    require_one_line(call("run.py", *campaign(tmp_path), *arguments), told)
    assert not list(tmp_path.iterdir())


def test_without_ray_it_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    outcome = call("run.py", *campaign(tmp_path), "--cluster", "auto")
    assert outcome.code == 2
    assert "--cluster: Ray is not installed; run pip3 install ray" in outcome.err


def test_ray_is_not_imported_unless_it_is_asked_for():
    code = "import sys, fisher_al.commands.run, fisher_al.commands.plot; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize(
    ("experiment", "tasks", "device", "jobs"),
    [
        (MNIST, 9, "cpu", 4),
        (MNIST, 3, "cpu", 3),
        (MNIST, 1, "cpu", 1),
        (MNIST, 9, "cuda:0", 1),
        (DIGITS, 9, "cpu", 1),
    ],
)
def test_a_core_for_every_chain_where_steps_are_small(monkeypatch, experiment, tasks, device, jobs):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert default_jobs(experiment, [None] * tasks, device) == jobs


def test_what_is_not_fit_to_start_from_is_left_out_of_the_results(folder, layout):
    chain = Chain.by_protocol(DIGITS, layout, parse_method("random", DIGITS))
    chain.model_path(1, 0).write_bytes(b"broken")
    ready, failed = prepare([ChainTask(chain)])
    assert (ready, refused_chains(failed)) == ([], [chain])
    assert attempt(ChainTask(chain), lambda text: None).refused


def test_many_causes_are_counted():
    failed = [(SimpleNamespace(name="x"), Outcome(error=str(number))) for number in range(5)]
    with pytest.raises(UserError, match=r"x: 2; and 2 more$"):
        report_failures(failed)


def test_workers_share_the_cores(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert Processes(3)._threads == 2


def test_the_bar_tells_what_is_done_meanwhile(monkeypatch, capsys):
    monkeypatch.setattr(runner, "PAUSE", 0)

    class Works(OneSlot):
        description = "working"

        def submit(self, task):
            future = super().submit(task)
            task.done = 1
            return future

    counted = []
    monkeypatch.setattr(runner.tqdm, "update", lambda bar, n: counted.append(n))
    runner.run_tasks(tasks_named("a", "b"), 1, "chain", Works({"a": [Outcome()], "b": [Outcome()]}))
    assert counted[0] == 1

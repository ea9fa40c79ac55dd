"""ImageNet's protocol on a small folder: training in half precision, several processes, the scripts."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT, call, call_main, require_one_line, snapshot
from folders import folder_experiment, load_prepared, make_folder

import vaal.run
from fisher_al.commands.run import run_main
from fisher_al.commands.stages import unsup_main
from fisher_al.experiment import parse_method
from fisher_al.files.layout import Layout
from fisher_al.files.storage import load_tensors
from fisher_al.training.checkpoints import load_checkpoint
from fisher_al.training.fit import fit
from fisher_al.training.steps import Trainer
from imagenet.experiment import DATASETS, IMAGENET
from mnist.experiment import MNIST

OPTIONS = ("--crop", 32, "--workers", 1, "-ir", 4, "--run-stop", 1, "--epochs", 1)
RUN = partial(run_main, DATASETS)
OURS = parse_method("gradFmap/768", IMAGENET)


def script(name, folder, *arguments, launcher=(), where="imagenet"):
    """Run a script of `where` as a user does, on the folder of images in `folder`."""
    command = [*(launcher or [sys.executable]), name, "--datadir", folder, "--imagenetdir", folder / "pets"]
    command = list(map(str, [*command, *arguments]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT / where, capture_output=True, text=True, timeout=240, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data folder with images, and initial models made by two processes."""
    folder = tmp_path_factory.mktemp("imagenet")
    make_folder(folder / "pets")
    script("run.py", folder, *OPTIONS, "--initial", "--nproc", 2)
    return folder


def error(main, folder, *arguments):
    """The one line with which a script's `main` refuses the arguments."""
    outcome = call_main(main, "--datadir", folder, "--imagenetdir", folder / "pets", *arguments)
    require_one_line(outcome)
    return outcome.err


def test_the_default_folder_of_images_is_that_of_the_results(tmp_path):
    make_folder(tmp_path / "elsewhere" / "raw")
    outcome = call_main(partial(unsup_main, DATASETS), "--save-folder", tmp_path / "elsewhere")
    assert "not all of ImageNet" in outcome.err, outcome.err  # found, and refused for its name


def test_a_class_added_after_the_lists_is_told(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "data")
    (tmp_path / "data" / "pets" / "train" / "aardvark").mkdir()
    told = r"train/ant/ant 00.png has class 0 there, which is now aardvark; undo what was added"
    assert told in error(RUN, tmp_path / "data", *OPTIONS)


def layout_of(folder):
    return Layout(folder / "pets", "run0", 4.0)


def test_the_protocol_is_the_papers():
    rates = [IMAGENET.training.learning_rate_at(epoch) for epoch in range(1, 61)]
    expected = [0.02, 0.04, 0.06, 0.08] + [0.1] * 25 + [0.01] * 20 + [0.001] * 7 + [0.0001] * 4
    assert rates == pytest.approx(expected)
    rates = [IMAGENET.pretraining.learning_rate_at(epoch) for epoch in range(1, 16)]
    assert rates == pytest.approx([0.05] + [0.1] * 4 + [0.01] * 4 + [0.001] * 4 + [0.0001] * 2)
    network = IMAGENET.network(1000)
    assert sum(weight.numel() for weight in network.parameters()) == 11_689_512  # torchvision's ResNet-18
    widths = {length: [network.scales[name] for name in names] for length, names in IMAGENET.lengths.items()}
    assert widths == {768: [256, 512], 512: [512], 448: [64, 128, 256]}


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_half_precision_steps_agree_with_single(precision):
    torch.manual_seed(0)
    inputs, labels = torch.randn(16, 1, 28, 28), torch.arange(16) % 4
    start = MNIST.network(4)
    losses = {}
    for autocast in (None, precision):
        network = MNIST.network(4)
        network.load_state_dict(start.state_dict())
        trainer = Trainer(network, IMAGENET.training, autocast)
        trainer._scaler = torch.amp.GradScaler("cpu", 2.0**24, enabled=autocast is torch.float16)
        trainer.set_learning_rate(0.05)
        for _ in range(25):
            trainer.step(inputs, labels)
        losses[autocast] = F.cross_entropy(network(inputs), labels).item()
        assert all(weight.dtype == torch.float32 for weight in network.parameters())
    before = F.cross_entropy(start(inputs), labels).item()
    assert losses[None] < 0.5 * before
    assert losses[precision] < 0.5 * before  # though the first steps of float16 overflow and are skipped


def test_training_learns_from_augmented_files(tmp_path):
    experiment = folder_experiment(make_folder(tmp_path / "pets"), tmp_path)
    data = load_prepared(experiment, Layout(tmp_path / "pets", "run0", 1.0))
    torch.manual_seed(0)
    chosen, generator = torch.arange(len(data.pool)), torch.Generator().manual_seed(0)
    schedule = replace(IMAGENET.training, epochs=12, batch_size=16, learning_rate=0.002, warmup_epochs=1)
    network = experiment.network(4)
    result = fit(network, data.pool, chosen, schedule, generator, data.test, data.validation)
    assert result.acc > 80
    assert result.acc_val == result.acc  # validation and test are the same images


def test_two_processes_pick_what_one_picks(folder):
    """From the same initial model: the same descriptors, bit for bit, and the same picks."""
    layout = layout_of(folder)
    arguments = [*OPTIONS, "--iterations", 1, "-as", 9, "--methods", "gradFmap/768", "varMC", "-smp", 3]
    found = {}
    for processes in (2, 1):
        out = script("run.py", folder, *arguments, "--nproc", processes)
        assert "gradFmap/768" in out
        assert out.count("1/1") == 2
        descriptors = [load_tensors(layout.descriptors(split, OURS), "") for split in ("train", "val")]
        checkpoint = load_checkpoint(layout.best_checkpoint(OURS, 1, 9), "")
        assert "half" in checkpoint["settings"]
        uncertain = load_checkpoint(layout.best_checkpoint(parse_method("varMC", IMAGENET), 1, 9), "")
        assert "half" not in uncertain["settings"]  # it changes nothing there
        found[processes] = descriptors, layout.index_list(OURS, 1, 9).read_bytes(), checkpoint
        for path in [*layout.run_folder.rglob("*best*"), *layout.run_folder.rglob("*index*")]:
            path.unlink()
    assert found[1][0][0].shape == (30, 768, 2)
    for one, two in zip(found[1][0], found[2][0], strict=True):
        assert torch.equal(one, two)
    assert found[1][1] == found[2][1]
    assert found[1][2]["settings"]["crop"] == 32
    assert found[1][2]["settings"] == found[2][2]["settings"]


def test_stages_run_under_torchrun(folder):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
    common = ["--crop", 32, "--workers", 1, "-ir", 4, "-as", 9, "--half", "--epochs", 1]
    script("gen_descr.py", folder, *common, launcher=launcher)
    descriptors = load_tensors(layout_of(folder).descriptors("train", OURS), "")
    assert descriptors.dtype == torch.bfloat16
    out = script("main_descr.py", folder, *common, launcher=launcher)
    assert out.count("test accuracy") == 1  # one process reports
    assert layout_of(folder).best_checkpoint(OURS, 1, 9).is_file()


def test_baselines_pick_by_descriptors_in_16_bits(folder):
    arguments = [*OPTIONS, "--iterations", 1, "-as", 9, "--half", "--methods", "coreset/512", "badge/512"]
    assert script("run.py", folder, *arguments).count("1/1") == 2
    for token in ("coreset/512", "badge/512"):
        method = parse_method(token, IMAGENET)
        descriptors = load_tensors(layout_of(folder).descriptors("train", method), "")
        assert descriptors.dtype == torch.bfloat16
        assert len(set(np.load(layout_of(folder).index_list(method, 1, 9)).tolist())) == 9
    arguments.remove("--half")
    assert "made with half True, now False" in error(RUN, folder, *arguments)


def test_variants_of_the_protocol(folder):
    arguments = [*OPTIONS, "--iterations", 1, "-as", 9, "--keep", "last", "--train-on-validation"]
    methods = ["--methods", "gradFmap/768", "gradShift/768", "similar", "train-on-validation"]
    out = script("run.py", folder, *arguments, "--validation-images", 2, "--holdout", 0.4, *methods)
    assert out.count("1/1") == 4
    assert "similar V=8 trained on V" in out
    refused = error(RUN, folder, *arguments, *methods)
    assert "the validation images that it learns are those it is tested on; give --holdout" in refused


def test_vaal_runs_on_a_folder(folder):
    arguments = ["run.py", "--dataset", "ImageNet", *OPTIONS[:-2], "--iterations", 2, "-as", 5]
    sizes = ["--train-iterations", 5, "--batch-size", 4, "--vae-width", 8, "--latent", 4]
    out = script(*arguments[:1], folder, *arguments[1:], *sizes, where="vaal")
    assert "vaal" in out
    picks = np.load(layout_of(folder).index_list(parse_method("vaal", IMAGENET), 2, 10))
    assert len(set(picks.tolist())) == 10
    again = partial(error, vaal.run.main, folder, *arguments[1:], *sizes)
    assert "made with crop 32, now 64" in again("--crop", 64)
    assert "made with holdout 0.0, now 0.4" in again("--holdout", 0.4)


def test_a_failure_in_one_of_several_processes_is_told_once(folder, tmp_path):
    copied = make_folder(tmp_path / "pets")
    (copied / "train" / "cat" / "cat 03.png").write_text("no image")
    command = [sys.executable, "run.py", "--datadir", tmp_path, "--imagenetdir", copied, *OPTIONS]
    command = [*command, "-ir", 1, "--initial", "--nproc", 2]
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT / "imagenet", capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 2
    assert done.stderr.count("error:") == 1
    assert "cat 03.png: cannot be decoded" in done.stderr.splitlines()[-1]


def test_bad_options_are_one_line(folder):
    before = snapshot(folder / "pets")
    run_error = partial(error, RUN, folder, *OPTIONS)
    assert "--crop" in run_error("--crop", 31)
    for too_many in (("--crop", 10**6), ("--workers", 10**12), ("--nproc", 10**12)):
        assert f"{too_many[0]}: '{too_many[1]}' is not a whole number from" in run_error(*too_many)
    assert "--holdout" in run_error("--holdout", 1)
    for one_process in (("--jobs", 2), ("--repair",), ("--cluster", "auto")):
        assert f"{one_process[0]}: not with --nproc" in run_error("--nproc", 2, *one_process)
    assert "--augment-size 64000" in run_error("--methods", "random")
    assert "crop 32, now 64" in run_error("--crop", 64, "--initial")
    assert "--imagenetdir" in run_error("--imagenetdir", folder / "nowhere")
    assert snapshot(folder / "pets") == before


def test_a_broken_list_is_repaired(folder, tmp_path):
    shutil.copytree(folder / "pets", tmp_path / "pets")
    path = tmp_path / "pets" / "processed" / "val_list.txt"
    whole = path.read_text()
    path.write_text(whole.replace(" 3\n", " 300\n"))
    arguments = ["run.py", "--datadir", tmp_path, "--imagenetdir", folder / "pets", *OPTIONS, "--initial"]
    outcome = call(*arguments, "--repair", datasets=DATASETS)
    assert outcome.code == 0, outcome.err
    assert f"broken and deleted, to be made anew: {path}" in outcome.out
    assert path.read_text() == whole

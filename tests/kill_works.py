"""What is killed in `make kills`: every script, on data small enough for a thousand kills."""

import random
from pathlib import Path

from campaigns import CHAINS, COMMON, INITIAL
from folders import make_folder
from kill_series import FOLDER, TIME, Command, Work, run_to_end
from test_svhn import COUNTS, write_mat

STEP = ("--dataset", "DIGITS", "-ir", 10)
OURS = (*STEP, "-dl", 20, "-as", 10)
SVHN = (
    *("--run-stop", 1, "-ir", 10, "--epochs", 1, "--allow-unverified-data"),
    *("--validation-per-class", 4, "--pool-size", 120),
)
PETS = ("--crop", 32, "--workers", 1, "--run-stop", 1, "-ir", 4, "--epochs", 1)
SHORT = ("--iterations", 2, "-as", 5)
VAAL = ("--dataset", "DIGITS", "--train-iterations", 12, "-as", 15)
FIGURES = (TIME, "before a rename", "after a rename")


def initial_models(folder: Path) -> None:
    run_to_end("mnist", ("run.py", *INITIAL), folder)


def finished_chains(folder: Path) -> None:
    initial_models(folder)
    run_to_end("mnist", ("run.py", *CHAINS), folder)


def cut_a_file(folder: Path, rng: random.Random) -> None:
    """Take half of a checkpoint, an index list, a descriptor file, the pool or a split away."""
    paths = [*folder.rglob("best_*.pt"), *folder.rglob("*.npy"), *folder.rglob("descr/*.pt")]
    paths += [*folder.rglob("train_ir*.pt"), *folder.rglob("*split.pt")]
    path = rng.choice(sorted(paths))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def svhn_files(folder: Path) -> None:
    for seed, (split, count) in enumerate(COUNTS.items()):
        write_mat(folder / "SVHN" / "raw" / f"{split}_32x32.mat", count, seed)


def pets(folder: Path) -> None:
    """Images where an option of the scripts, relative to theirs, finds them."""
    make_folder(folder / "images" / "pets")
    (folder / "images" / "pets" / "train" / "bee" / "bee 07.jpg").write_text("no image")


def pets_commands(*options: object) -> tuple[Command, ...]:
    """Both calls of imagenet/run.py."""
    common = ("run.py", "--imagenetdir", f"{FOLDER}/images/pets", *PETS, "--skip-corrupt", *options)
    return (*common, "--initial"), (*common, "--methods", "random", "gradFmap/768", *SHORT)


WORKS = (
    Work("mnist/run.py", "mnist", (("run.py", *INITIAL), ("run.py", *CHAINS)), 160),
    Work(
        "mnist/run.py --repair", "mnist", (("run.py", *CHAINS, "--repair"),), 140, finished_chains, cut_a_file
    ),
    Work(
        "mnist/run.py --status",
        "mnist",
        (("run.py", *CHAINS, "--status"),),
        30,
        finished_chains,
        moments=(TIME,),
    ),
    Work(
        "unsup.py, gen_descr.py, main_descr.py",
        "mnist",
        (
            ("unsup.py", *STEP, "--epochs", 1),
            ("gen_descr.py", *OURS),
            ("main_descr.py", *OURS, "--epochs", 2),
            ("gen_descr.py", *OURS, "-b", 1),
            ("main_descr.py", *OURS, "-b", 1, "--epochs", 2),
        ),
        160,
    ),
    Work(
        "run_plot.py",
        "mnist",
        (("run_plot.py", *CHAINS[:-4]), ("run_plot.py", *CHAINS[:-4], "--cost")),
        100,
        finished_chains,
        moments=FIGURES,
    ),
    Work(
        "visualize_tsne.py",
        "mnist",
        (("visualize_tsne.py", *COMMON, "--methods", "random", "gradFmap/80", "-b", 1, "-as", 15),),
        50,
        finished_chains,
        moments=FIGURES,
    ),
    Work(
        "svhn/run.py",
        "svhn",
        (("run.py", *SVHN, "--initial"), ("run.py", *SVHN, "--methods", "random", "gradFmap/256", *SHORT)),
        80,
        svhn_files,
    ),
    Work("imagenet/run.py, DALI", "imagenet", pets_commands(), 60, pets),
    Work("imagenet/run.py, torchvision", "imagenet", pets_commands("--loader", "torchvision"), 50, pets),
    Work(
        "imagenet/run.py --nproc 2",
        "imagenet",
        pets_commands("--nproc", 2),
        30,
        pets,
        moments=(TIME,),
        alone=False,
    ),
    Work("vaal/run.py", "vaal", (("run.py", *VAAL, "--run-stop", 1, "--iterations", 2),), 80, initial_models),
    Work(
        "vaal/main.py",
        "vaal",
        (("main.py", *VAAL, "-ir", 10), ("main.py", *VAAL, "-ir", 10, "-b", 1)),
        60,
        initial_models,
    ),
)

"""Options of the scripts outside mnist/, whatever they hold: work, or one clear line and no changed file."""

import shutil
from functools import partial

import pytest
from conftest import MAIN_FUNCTIONS, call_main, snapshot
from folders import make_folder
from hostile import examples, given_options, require_line_or_result, require_unchanged
from hypothesis import given
from hypothesis import strategies as st

import imagenet.experiment
import mnist.experiment
import svhn.experiment
import vaal.main
import vaal.results
import vaal.run
from fisher_al.commands.visualize import visualize_tsne_main

SHARED = (
    *("-ir", "-nr", "-ens", "-e", "-smp", "-as", "-gbs", "-unsup", "-sub", "-aug", "-b", "-ts", "-dl", "-r"),
    *("--seed", "--run-start", "--run-stop", "--methods", "--iterations", "--epochs", "--lr", "--batch-size"),
    *("--figure", "--metric", "--reference", "--accuracy", "--classes", "--nonsense"),
)
SVHN = ("--allow-unverified-data", "--validation-per-class", "--pool-size")
FOLDER = ("--crop", "--loader", "--workers", "--holdout", "--skip-corrupt", "--half", "--imagenetdir")
VAAL = (
    *("--train-iterations", "--batch-size", "--latent", "--vae-width", "--discriminator-width", "--beta"),
    *("--lambda", "--vae-steps", "--discriminator-steps", "--precision", "--lr", "--dataset"),
)


def scripts(datasets):
    return {name: partial(main, datasets) for name, main in MAIN_FUNCTIONS.items()}


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("images") / "pets", train=2, val=1)


def check(folder, main, *arguments):
    before = snapshot(folder)
    outcome = call_main(main, *arguments, "--datadir", folder)
    require_line_or_result(outcome)
    require_unchanged(folder, before)


# What ends each script before it works: a look, or a file that is not there.
LOOKS = [("run.py", ("--dry-run",)), ("run.py", ("--status",)), ("run_plot.py", ()), ("gen_descr.py", ())]


@pytest.mark.parametrize(("script", "last"), LOOKS)
@examples(10, "options, svhn/")
@given(options=given_options(*SHARED, *SVHN))
def test_any_options_of_svhn(tmp_path_factory, script, last, options):
    main = scripts(svhn.experiment.DATASETS)[script]
    check(tmp_path_factory.mktemp("empty"), main, *options, *last)


@pytest.mark.parametrize(("script", "last"), LOOKS)
@examples(10, "options, imagenet/")
@given(options=given_options(*SHARED, *FOLDER))
def test_any_options_of_a_folder_of_images(tmp_path_factory, pets, script, last, options):
    main = scripts(imagenet.experiment.DATASETS)[script]
    check(tmp_path_factory.mktemp("empty"), main, "--imagenetdir", pets, *options, *last)


@pytest.mark.parametrize(
    ("main", "last"),
    [
        (vaal.run.main, ("--dry-run",)),
        (vaal.run.main, ("--status",)),
        (vaal.main.main, ()),
        (vaal.results.main, ()),
    ],
)
@examples(10, "options, vaal/")
@given(options=given_options(*SHARED, *VAAL))
def test_any_options_of_vaal(tmp_path_factory, main, last, options):
    check(tmp_path_factory.mktemp("empty"), main, "--dataset", "DIGITS", *options, *last)


@examples(20, "options, visualize_tsne.py")
@given(options=given_options(*SHARED, "--dataset", "--out"))
def test_any_options_of_visualize_tsne(tmp_path_factory, options):
    main = partial(visualize_tsne_main, mnist.experiment.DATASETS)
    check(tmp_path_factory.mktemp("empty"), main, *options)


SIZES = st.one_of(st.integers(1, 100), st.integers(10**5 + 1, 10**13))
STAGE = ("--dataset", "DIGITS", "-ir", 10)
UNSUP = scripts(imagenet.experiment.DATASETS)["unsup.py"]
DESCRIBE = scripts(mnist.experiment.DATASETS)["gen_descr.py"]
OF_VAAL = ("--batch-size", "--latent", "--vae-width", "--discriminator-width", "--vae-steps", "-as")


@pytest.mark.parametrize(
    ("main", "fixed", "flags"),
    [
        (UNSUP, ("-ir", 1, "--epochs", 0), ("--workers", "--crop", "--batch-size")),
        (DESCRIBE, (*STAGE, "-sub", "varMC"), ("-smp", "-gbs", "-as", "--batch-size")),
        (DESCRIBE, (*STAGE, "-sub", "gradFmap", "-dl", 20), ("-smp", "-gbs", "-as")),
        (vaal.main.main, (*STAGE, "--train-iterations", 1), OF_VAAL),
    ],
)
@examples(4, "sizes of what is worked on")
@given(data=st.data())
def test_any_size(digits_folder, pets, tmp_path_factory, main, fixed, flags, data):
    sizes = data.draw(st.dictionaries(st.sampled_from(flags), SIZES, min_size=1, max_size=2))
    folder = tmp_path_factory.mktemp("sizes") / "data"
    shutil.copytree(digits_folder, folder)
    images = ("--imagenetdir", pets, "--crop", 32) if main is UNSUP else ()
    given_sizes = (word for pair in sizes.items() for word in pair)
    outcome = call_main(main, *fixed, *images, *given_sizes, "--datadir", folder)
    assert outcome.code == 0 or outcome.err.splitlines()[-1].startswith("error: "), outcome.err
    assert "Traceback" not in outcome.err
    shutil.rmtree(folder)

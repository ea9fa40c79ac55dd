"""docs/options.md has every option of every script, and the protocols as they are."""

import re
from collections import defaultdict
from functools import cache, partial

import pytest
from conftest import MAIN_FUNCTIONS, call_main
from pages import DOCS, README, running_text, section, table
from rounds import fisher_al

import imagenet.experiment
import mnist.experiment
import svhn.experiment
import vaal.main
import vaal.results
import vaal.run
from fisher_al.data.folder_source import FolderSource
from fisher_al.experiment import Experiment
from imagenet.experiment import IMAGENET
from mnist.experiment import DIGITS, MNIST
from svhn.experiment import SVHN
from vaal.protocol import PROTOCOLS

PAGE = DOCS / "options.md"
PROTOCOL_COLUMNS = (MNIST, DIGITS, SVHN, IMAGENET)

FOLDERS = {
    "mnist": mnist.experiment.DATASETS,
    "svhn": svhn.experiment.DATASETS,
    "imagenet": imagenet.experiment.DATASETS,
}
SCRIPTS = {
    f"{folder}/{name}": partial(main, datasets)
    for folder, datasets in FOLDERS.items()
    for name, main in MAIN_FUNCTIONS.items()
    if folder == "mnist" or name != "visualize_tsne.py"
}
SCRIPTS |= {
    "vaal/run.py": vaal.run.main,
    "vaal/main.py": vaal.main.main,
    "vaal/results.py": vaal.results.main,
}
HELP = {"-h", "--help"}


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w/-])--?[a-z][a-z-]*", text))


@cache
def options_of(script: str, *arguments: str) -> set[str]:
    """The options that the script's --help lists."""
    outcome = call_main(SCRIPTS[script], *arguments, "--help")
    assert outcome.code == 0, outcome.err
    entries = re.findall(r"^  (-\S.*?)(?:  |$)", outcome.out, re.MULTILINE)
    return options_in(" ".join(entries)) - HELP


def scripts_in(sentence: str) -> list[str]:
    """Those that "Of `run.py` and `vaal/run.py`", "Of every script" or "Of every script of `svhn/`" name."""
    named = re.findall(r"`([\w/]+(?:\.py|/))`", sentence)

    def is_named(script: str) -> bool:
        folder, name = script.split("/")
        return not named or bool({script, f"{folder}/"} & {*named}) or (folder != "vaal" and name in named)

    return [script for script in SCRIPTS if is_named(script)]


@cache
def documented() -> dict[str, set[str]]:
    """The options that the page's tables give each script."""
    options, scripts = defaultdict(set), []
    for block in PAGE.read_text().split("## Options\n")[1].split("\n## ")[0].split("\n\n"):
        if block.strip().startswith("Of "):
            scripts = scripts_in(re.split(r"\.\s", f"{block}\n")[0])
        for row in table(block) if block.startswith("|") else ():
            for script in scripts:
                options[script] |= options_in(" ".join(re.findall(r"`(-[^`]*)`", row[0])))
    return options


@pytest.mark.parametrize("script", SCRIPTS)
def test_options_of_a_script_are_documented(script):
    assert documented()[script] == options_of(script)


@pytest.mark.parametrize(("dataset", "folder"), [("SVHN", "svhn"), ("ImageNet", "imagenet")])
def test_vaal_has_the_options_of_its_dataset(dataset, folder):
    for script, alike in (("run.py", "unsup.py"), ("main.py", "unsup.py"), ("results.py", "run_plot.py")):
        own = documented()[f"{folder}/{alike}"] - documented()[f"mnist/{alike}"]
        assert options_of(f"vaal/{script}", "--dataset", dataset) == documented()[f"vaal/{script}"] | own


@pytest.mark.parametrize("page", [README, *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_commands_and_options_in_the_text_exist(page):
    of_name = defaultdict(set)
    for script in SCRIPTS:
        of_name[script.split("/")[1]] |= options_of(script)
    text = page.read_text()
    for name, arguments in re.findall(r"(?<![\w/])(\w+\.py)( [^`\n#]*)", text):
        if name in of_name:
            assert options_in(arguments) <= of_name[name] | HELP, f"{name}{arguments}"
    of_commands = [options_in(fisher_al(name, "--help").out) for name in ("pick", "simulate")]
    assert options_in(" ".join(re.findall(r"`(-[^`]*)`", text))) <= HELP.union(
        *of_name.values(), *of_commands
    )


def protocol_table() -> list[list[str]]:
    """The protocols as rows of text, one column each."""

    def row(name, value):
        return [name, *(str(value(experiment)) for experiment in PROTOCOL_COLUMNS)]

    def of_both(name, value):
        return row(name, lambda e: " / ".join(dict.fromkeys((value(e.training), value(e.pretraining)))))

    def joined(values):
        return ", ".join(f"{value:g}" for value in values)

    return [
        row("network", lambda e: e.network.__name__),
        row("inputs", lambda e: " x ".join(map(str, e.source.image_shape))),
        row("classes", lambda e: f"{e.num_classes:,}"),
        row("pool at ratio 1", lambda e: f"{e.source.pool_size:,}"),
        row("validation images", validation_images),
        row("imbalance ratios", lambda e: joined(e.imbalance_ratios)),
        row("runs", lambda e: e.runs),
        row("iterations B", lambda e: e.iterations),
        row("budget A", lambda e: f"{e.budget:,}"),
        row("samples K", lambda e: e.mc_samples),
        row("length L", lambda e: e.default_length),
        of_both("epochs", lambda s: f"{s.epochs}"),
        of_both("batch size", lambda s: f"{s.batch_size}"),
        of_both("learning rate", lambda s: f"{s.learning_rate:g}"),
        of_both("x0.1 at", lambda s: joined(s.milestones)),
        of_both("warm-up epochs", lambda s: f"{s.warmup_epochs}"),
        of_both("momentum", lambda s: f"{s.momentum:g}"),
        of_both("weight decay", lambda s: f"{s.weight_decay:g}"),
    ]


def validation_images(experiment: Experiment) -> str:
    if isinstance(experiment.source, FolderSource):
        return "all of `val/`"
    per_class = experiment.source.validation_per_class
    return f"{per_class * experiment.num_classes if isinstance(per_class, int) else sum(per_class):,}"


def test_protocols_are_those_of_the_experiments():
    assert table(section(PAGE, "## Protocols")) == protocol_table()
    networks = {experiment.network: experiment for experiment in PROTOCOL_COLUMNS}.values()
    assert table(section(PAGE, "## Protocols"), 1) == [
        [e.network.__name__, str(length), ", ".join(f"`{name}`" for name in scales)]
        for e in networks
        for length, scales in e.lengths.items()
    ]
    tasks = [len(MNIST.imbalance_ratios) * MNIST.runs * number for number in (2, len(MNIST.methods))]
    assert "MNIST's protocol has {} initial models and {} chains".format(*tasks) in running_text(PAGE)


def test_protocols_of_vaal_are_as_documented():
    fields = {"--lr": "learning_rate", "--lambda": "adversarial_weight"}
    for option, _, *cells in table(section(PAGE, "### Training of VAAL")):
        option = option.strip("`").split()[0]
        field = fields.get(option, option.removeprefix("--").replace("-", "_"))
        values = [getattr(protocol, field) for protocol in PROTOCOLS.values()]
        forms = {int: "{:,}", float: "{:g}", str: "{}"}
        assert cells == [forms[type(value)].format(value) for value in values]

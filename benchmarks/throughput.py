"""Time run.py on two chains: one after another on all cores, and side by side with a share of them each.

    python3 benchmarks/throughput.py        # from the root; some minutes of a machine that does nothing else

Needs MNIST under local_data/MNIST (see the README). Whole processes, ten iterations of gradFmap/80 each,
from random weights. The ways take turns, and between them a tenth of one plain iteration (plain.py) is timed.
Prints means, and writes them to benchmarks/throughput.json.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from chains import Workshop
from machine import description, seconds_of
from plain import PlainDataset
from rows import tenth_of_a_plain_iteration
from tabulate import tabulate

from fisher_al.commands.parsing import Parser
from fisher_al.commands.scripts import run_script
from fisher_al.files.storage import save_json
from mnist.experiment import MNIST

OUT = Path(__file__).with_suffix(".json")
SCRIPTS = Path(__file__).parents[1] / "mnist"
CHAINS, ITERATIONS, REPEATS = 2, 10, 2
WAYS = {"one after another": ("--jobs", "1"), "side by side": ()}
PLAIN = "plain version"


def run_py(folder, *arguments):
    common = ("--datadir", folder, "-ir", 100, "-unsup", 0, "--run-stop", CHAINS)
    command = [sys.executable, "run.py", *map(str, (*common, *arguments))]
    subprocess.run(command, cwd=SCRIPTS, check=True, capture_output=True)


def seconds_of_ways(folder):
    """Seconds by way, one number for each repeat; the plain version's are of all iterations of all chains."""
    prepared = folder / "prepared"
    workshop = Workshop.open(prepared / "MNIST")
    run_py(prepared, "--initial")
    layout = workshop.layout(pretrained=False)
    pool, test, validation = (
        MNIST.source.load_split(path)
        for path in (layout.pool(), layout.processed("test"), layout.processed("val-split"))
    )
    test = PlainDataset(*test)
    seconds = {way: [] for way in (*WAYS, PLAIN)}
    for _ in range(REPEATS):
        for way, options in WAYS.items():
            work = shutil.copytree(prepared, folder / "work")
            again = ("--methods", "gradFmap/80", "--iterations", ITERATIONS, *options)
            seconds[way].append(seconds_of(lambda: run_py(work, *again)))  # noqa: B023
            shutil.rmtree(work)
        tenth = seconds_of(lambda: tenth_of_a_plain_iteration(pool, validation, test))
        seconds[PLAIN].append(10 * ITERATIONS * CHAINS * tenth)
    return seconds


def main(arguments):
    Parser(__doc__.splitlines()[0]).parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        seconds = seconds_of_ways(Path(folder))
    means = {way: statistics.fmean(each) for way, each in seconds.items()}
    rows = [
        {"how": way, "seconds": mean, "speed-up": means["one after another"] / mean}
        for way, mean in means.items()
    ]
    save_json({"machine": description(), "seconds of every repeat": seconds, "means": rows}, OUT)
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3g"))
    print(f"\n{OUT}")


if __name__ == "__main__":
    run_script(main)

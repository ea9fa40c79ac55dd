"""How far the accuracy after the first batch depends on what is drawn: head, picks, order of training.

    python3 benchmarks/first_batch.py      # from the root; about 15 minutes of one core

Starts from the initial models of `cd mnist && python3 run.py --initial -ir 1 --run-stop 5 --unsupervised 1`.
In each run, every other random draw of the first iteration is made anew `--draws` times; the draw behind the
figures is not among them.
"""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from machine import description
from tabulate import tabulate
from tqdm import tqdm

from fisher_al.chain import Chain
from fisher_al.commands.parsing import Parser, count
from fisher_al.commands.scripts import run_script
from fisher_al.errors import UserError
from fisher_al.experiment import parse_method
from fisher_al.files.layout import Layout
from fisher_al.files.storage import save_json
from fisher_al.results.published import published_mean
from fisher_al.stages.gen_descr import gen_descr
from fisher_al.stages.main_descr import main_descr
from mnist.experiment import MNIST

ROOT = Path(__file__).parents[1]


def chain_in(folder, run, method):
    """A chain at imbalance ratio 1."""
    layout = Layout(folder, f"run{run}", 1.0)
    return Chain.by_protocol(MNIST, layout, parse_method(method, MNIST), gen_batch_size=256)


def first_accuracies(source, folder, run, method, draws):
    """Best test accuracies (percent) after the first batch, one per draw."""
    origin = Layout(source, f"run{run}", 1.0).initial_checkpoint(0)
    if not origin.is_file():
        raise UserError(f"{origin}: not found; run run.py --initial -ir 1 --unsupervised 1 first")
    chain = chain_in(folder, run, method)
    for path in (chain.layout.initial_checkpoint(0), chain.descriptor_files[0]):
        path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(origin, chain.layout.initial_checkpoint(0))
    accuracies = []
    for seed in range(1, 1 + draws):
        drawn = replace(chain, seed=seed)
        gen_descr(drawn, 0)
        accuracies.append(main_descr(drawn, 0)["acc"])
    return accuracies


def main(arguments):
    parser = Parser("How far the accuracy after the first batch depends on what is drawn.")
    parser.add_argument("--datadir", type=Path, default=ROOT / "local_data", help="folder of the datasets")
    parser.add_argument("--methods", nargs="+", default=["random", "gradFmap/80"], help="methods to try")
    parser.add_argument("--runs", type=count, default=5, help="initial models to start from")
    parser.add_argument("--draws", type=count, default=8, help="times that each run is drawn anew")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).with_suffix(".json"), help="JSON file to write"
    )
    args = parser.parse_args(arguments)
    source = args.datadir / MNIST.name
    results, rows = {}, []
    with tempfile.TemporaryDirectory() as temporary, tqdm(total=len(args.methods) * args.runs) as bar:
        folder = Path(temporary)
        (folder / "processed").symlink_to((source / "processed").resolve())
        for method in args.methods:
            runs = []
            for run in range(args.runs):
                runs.append(first_accuracies(source, folder, run, method, args.draws))
                bar.update()
            published = float(published_mean(chain_in(folder, 0, method))[0])
            rows.append([method, np.size(runs), np.mean(runs), np.std(runs, ddof=1), published])
            results[method] = {"accuracies of each run": runs, "published": published}
    print(tabulate(rows, ["method", "draws", "mean", "std", "published"], floatfmt=".1f"))
    save_json({"machine": description(), "ir": 1, "b": 1, "methods": results}, args.out)
    print(args.out)


if __name__ == "__main__":
    run_script(main)

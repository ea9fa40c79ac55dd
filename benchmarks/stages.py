"""Wall-clock time of whole stages on MNIST at imbalance ratio 100, loading and saving included.

    python3 benchmarks/stages.py

Needs MNIST under local_data/MNIST (see the README). Works in a temporary folder and leaves the runs alone.
"""

import shutil
import tempfile
import time
from pathlib import Path

import torch
from tabulate import tabulate

from fisher_al.evaluation import EVALUATION_BATCH_SIZE
from fisher_al.layout import Layout
from fisher_al.memory import keep_freed_memory
from fisher_al.methods import parse_method
from fisher_al.stages.chain import Chain
from fisher_al.stages.gen_descr import gen_descr
from fisher_al.stages.main_descr import main_descr
from fisher_al.stages.unsup import unsup
from mnist.experiment import MNIST

DATA = Path(__file__).parents[1] / "local_data" / "MNIST"

# Seconds of the published implementation on 2 cores of an AMD EPYC with AVX2, another machine than this.
PUBLISHED = {
    "unsup (pretraining)": 211,
    "gen_descr gradFmap/80": 18.5,
    "gen_descr + main_descr gradFmap/80": 157,
    "gen_descr varMC, K 128": 286,
    "gen_descr cor/20, K 128": 383,
}


def make_chain(layout: Layout, token: str) -> Chain:
    return Chain(
        experiment=MNIST,
        layout=layout,
        method=parse_method(token, MNIST),
        training=MNIST.training,
        iterations=MNIST.iterations,
        budget=MNIST.budget,
        mc_samples=MNIST.mc_samples,
        gen_batch_size=1024,
        test_batch_size=EVALUATION_BATCH_SIZE,
        seed=0,
        device="cpu",
    )


def timed(stage, *arguments) -> float:
    start = time.perf_counter()
    stage(*arguments)
    return time.perf_counter() - start


def measure(folder: Path) -> dict[str, float]:
    """Seconds of each row of `PUBLISHED`; the second batch, so that every method describes."""
    layout = Layout(folder, "run0", 100.0)
    seconds = {"unsup (pretraining)": timed(unsup, MNIST, layout, 0, MNIST.pretraining, 0, "cpu")}
    ours, varmc, cor = (make_chain(layout, token) for token in ("gradFmap/80", "varMC", "cor/20"))
    for chain in (ours, varmc):
        gen_descr(chain, 0)
        main_descr(chain, 0)
    seconds["gen_descr gradFmap/80"] = timed(gen_descr, ours, 1)
    both = seconds["gen_descr gradFmap/80"] + timed(main_descr, ours, 1)
    seconds["gen_descr + main_descr gradFmap/80"] = both
    seconds["gen_descr varMC, K 128"] = timed(gen_descr, varmc, 1)
    seconds["gen_descr cor/20, K 128"] = timed(gen_descr, cor, 0)
    return seconds


if __name__ == "__main__":
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        for part in ("raw", "processed"):
            if (DATA / part).is_dir():
                shutil.copytree(DATA / part, Path(folder) / part)
        seconds = measure(Path(folder))
    rows = [[row, seconds[row], PUBLISHED[row]] for row in PUBLISHED]
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    print(tabulate(rows, headers=["stage", "seconds", "published code"], floatfmt=".1f", tablefmt="github"))

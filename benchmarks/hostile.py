"""Give the scripts ten thousand hostile inputs, and count what comes of them.

    make hostile                    # or, from the root: python3 benchmarks/hostile.py

The tests of hostile input, with seven times as many examples as `make test` tries, and others: options and
sizes of all scripts, and every kind of file, broken or forged. Each one ends with one clear line, exit code 2
and nothing changed, or is served. Takes some minutes. Prints a table and writes it to benchmarks/faults.json.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import update
from tabulate import tabulate

from fisher_al.commands.parsing import Parser, count, index
from fisher_al.commands.scripts import run_script

ROOT = Path(__file__).parents[1]
DEFAULT_OUT = ROOT / "benchmarks" / "faults.json"


def main(arguments):
    parser = Parser("Give the scripts hostile inputs, and count what comes of them.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="JSON file to write")
    parser.add_argument("--seed", type=index, default=18, help="that the inputs are drawn from")
    parser.add_argument("--times", type=count, default=7, help="how many times the inputs of the tests")
    args = parser.parse_args(arguments)
    tests, start = sorted((ROOT / "tests").glob("test_hostile_*.py")), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts.json"
        given = {"HOSTILE": f"{args.times} {args.seed}", "HOSTILE_COUNTS": str(counts)}
        command = [sys.executable, "-m", "pytest", "--tb=short", *map(str, tests)]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, **given})
        rows = [{"input": kind, **row} for kind, row in json.loads(counts.read_text()).items()]
    print("\n" + tabulate(rows, headers="keys", tablefmt="github"))
    minutes = round((time.monotonic() - start) / 60, 1)
    update(args.out, hostile={"seed": args.seed, "minutes": minutes, "inputs": rows})
    return done.returncode


if __name__ == "__main__":
    run_script(main)

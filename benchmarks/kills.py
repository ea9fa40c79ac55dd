"""Kill every script a thousand times altogether, and count.

    make kills                      # or, from the root: python3 benchmarks/kills.py

After every kill, whatever carries its final name is whole, and what was there is there. The same command goes
on, and at the end every file is as if nothing had happened. Takes about twenty minutes. What is counted
stands in benchmarks/faults.json after every series; started again, it goes on with the next one.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

from record import read, update
from tabulate import tabulate

from fisher_al.commands.parsing import Parser, index
from fisher_al.commands.scripts import run_script

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from kill_series import Rehearsal
from kill_works import WORKS

DEFAULT_OUT = Path(__file__).parent / "faults.json"

# Kills from one beginning of a work.
SERIES = 10

ZERO = {"tried": 0, "survived": 0, "lost": 0}


def add(row, rehearsal, seed, left):
    """Count one more series of the work, of up to `left` kills."""
    rng = random.Random(f"{seed} {row['script']} {row['series']}")
    row["series"] += 1
    try:
        tried = survived = rehearsal.series(rng, min(SERIES, left))
    except AssertionError as error:
        print(f"{row['script']}, series {row['series']}: {error}", file=sys.stderr)
        tried, survived = 1, 0
    row["tried"] += tried
    row["survived"] += survived
    row["lost"] += rehearsal.lost()


def main(arguments):
    parser = Parser("Kill every script many times, and count.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="JSON file to go on with")
    parser.add_argument("--seed", type=index, default=18, help="says when the kills come")
    parser.add_argument("--kills", type=index, default=1000, help="how many, of all scripts together")
    parser.add_argument("--scripts", nargs="+", help="only those whose names have one of these words")
    args = parser.parse_args(arguments)
    kills = read(args.out).get("kills", {})
    if kills.get("seed") != args.seed:
        kills = {"seed": args.seed, "minutes": 0, "scripts": []}
    rows = {row["script"]: row for row in kills["scripts"]}
    kills["scripts"] = [rows.get(w.name) or {"script": w.name, "series": 0, **ZERO} for w in WORKS]
    with tempfile.TemporaryDirectory() as folder:
        for number, (work, row) in enumerate(zip(WORKS, kills["scripts"], strict=True)):
            is_chosen = not args.scripts or any(word in work.name for word in args.scripts)
            wanted = round(work.kills * args.kills / 1000) if is_chosen else 0
            if row["tried"] >= wanted:
                continue
            start = time.monotonic()
            rehearsal = Rehearsal(work, Path(folder) / f"work{number}")
            while row["tried"] < wanted:
                add(row, rehearsal, args.seed, wanted - row["tried"])
                now = time.monotonic()
                kills["minutes"], start = round(kills["minutes"] + (now - start) / 60, 2), now
                update(args.out, kills=kills)
                print(row, flush=True)
    print("\n" + tabulate(kills["scripts"], headers="keys", tablefmt="github"))
    return 0 if all(row["survived"] == row["tried"] and not row["lost"] for row in kills["scripts"]) else 1


if __name__ == "__main__":
    run_script(main)

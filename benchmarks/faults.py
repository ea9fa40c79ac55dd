"""Break a campaign of digits in every way that it has to survive, many times, and count.

    make faults                     # or, from the root: python3 benchmarks/faults.py

Needs nothing but the project and about fifteen minutes of two cores; full and read-only file systems are
tried where this user may mount them. Prints a table and writes it to benchmarks/faults.json.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

from machine import description
from record import update
from tabulate import tabulate

from fisher_al.commands.parsing import Parser, index
from fisher_al.commands.scripts import run_script

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from campaigns import prepare_campaign
from disk_faults import NotPossibleError
from faults import FAULTS

DEFAULT_OUT = Path(__file__).parent / "faults.json"


def try_fault(fault, begun, folder, seed):
    """How often the fault was tried and survived, and how many results were lost."""
    tried = survived = lost = 0
    for number in range(fault.tries):
        campaign = begun.copy(folder / f"{fault.name}-{number}")
        try:
            fault.strike(campaign, random.Random(f"{seed} {fault.name} {number}"))
            survived += fault.per_strike
        except NotPossibleError as reason:
            print(f"{fault.name}: {reason}", file=sys.stderr)
            break
        except AssertionError as error:
            print(f"{fault.name}, number {number}: {error!r}", file=sys.stderr)
            campaign.call()
        tried += fault.per_strike
        lost += campaign.lost()
    return {"fault": fault.name, "tried": tried, "survived": survived, "lost": lost}


def main(arguments):
    parser = Parser("Break a small campaign in every way that it has to survive, and count.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="JSON file to write")
    parser.add_argument("--seed", type=index, default=0, help="says where the faults strike")
    parser.add_argument("--faults", nargs="+", help="only those whose names have one of these words")
    args = parser.parse_args(arguments)
    rows, start = [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        begun = prepare_campaign(Path(folder))
        for fault in FAULTS:
            if not args.faults or any(word in fault.name for word in args.faults):
                rows.append(try_fault(fault, begun, Path(folder), args.seed))
                print(rows[-1], flush=True)
    print("\n" + tabulate(rows, headers="keys", tablefmt="github"))
    minutes = round((time.monotonic() - start) / 60, 1)
    update(args.out, machine=description(), minutes=minutes, seed=args.seed, faults=rows)
    print(f"\n{args.out}")
    return 0 if all(row["survived"] == row["tried"] and not row["lost"] for row in rows) else 1


if __name__ == "__main__":
    run_script(main)

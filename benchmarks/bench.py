"""Time this project's stages against plain PyTorch versions of the same work, in the same run.

    make bench                      # or, from the root: python3 benchmarks/bench.py

Needs MNIST under local_data/MNIST (see the README) and about ten minutes of two cores. Works in a temporary
folder, prints tables, and writes all numbers to benchmarks/results.json.
"""

import tempfile
from pathlib import Path

from adversarial import adversarial_rows
from chains import Workshop
from growth import growth_rows
from images_per_second import resnet_rows
from machine import description, matrix_product_speed, operations_of, peak_memory_of, seconds_of
from rows import acquisition_rows, stage_rows
from tabulate import tabulate

from fisher_al.commands.parsing import Parser
from fisher_al.commands.scripts import run_script
from fisher_al.files.storage import save_json
from fisher_al.memory import keep_freed_memory

DEFAULT_OUT = Path(__file__).parent / "results.json"


def compare(row, speed):
    """The numbers of one row."""
    seconds = seconds_of(row.ours, row.repeats)
    plain = seconds_of(row.plain) / row.share if row.plain else None
    memory = peak_memory_of(row.ours) if row.measures_memory else None
    operations = operations_of(row.ours)
    plain_operations = operations_of(row.plain) / row.share if row.counts_plain else None
    floor = operations / speed
    return {
        "work": row.name,
        "seconds": seconds,
        "plain": plain,
        "plain share": row.share if row.plain else None,
        "ratio": plain / seconds if plain else None,
        "floor": floor,
        "of floor": floor / seconds,
        "operations": operations,
        "plain operations": plain_operations,
        "published": row.published,
        "memory": memory,
    }


def print_table(rows, **options):
    print("\n" + tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3g", **options), flush=True)


def main(arguments):
    parser = Parser("Time every stage against a plain PyTorch version of the same work, in the same run.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="JSON file to write")
    args = parser.parse_args(arguments)
    keep_freed_memory()
    speed = matrix_product_speed()
    results = {"machine": {**description(), "matrix product, operations/s": speed}}
    print(results["machine"])
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop.open(Path(folder))
        results["stages"] = []
        for rows in (stage_rows(workshop), acquisition_rows()):
            for row in rows:
                results["stages"].append(compare(row, speed))
                print_table(results["stages"][-1:])
        results["growth"] = growth_rows(workshop)
    results["resnet"] = list(resnet_rows(speed))
    results["vaal"] = list(adversarial_rows())
    for rows in (results[name] for name in ("stages", "growth", "resnet", "vaal")):
        print_table(rows)
    save_json(results, args.out)
    print(f"\n{args.out}")


if __name__ == "__main__":
    run_script(main)

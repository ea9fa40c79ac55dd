"""Print the results of VAAL runs: mean and deviation of every batch, and run by run."""

from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import tabulate

from fisher_al.commands.options import PoolsOptions, StartsOptions
from fisher_al.commands.plan import make_chains
from fisher_al.commands.plot import MetricOptions, print_paper_differences
from fisher_al.commands.scripts import parse, run_script
from fisher_al.errors import UserError
from fisher_al.results.curves import collect_curves, print_results, results_header
from vaal.options import choose_datasets, chosen_curves


@dataclass(frozen=True)
class VaalResultsOptions(MetricOptions, StartsOptions, PoolsOptions):
    """Options of results.py."""


def main(arguments: Sequence[str]) -> None:
    """`results.py`: tables of the accuracies that the checkpoints hold."""
    datasets = choose_datasets(arguments)
    options, experiment = parse(
        "Print the accuracies of VAAL runs, their mean, and what the paper's differ by.",
        VaalResultsOptions,
        datasets,
        arguments,
        without=datasets.reading + datasets.describing,
    )
    chains = make_chains(experiment, options, chosen_curves(experiment, options.unsupervised))
    metrics = options.metric or ("best",)
    curves = [(metric, curve) for metric in metrics for curve in collect_curves(chains, metric)]
    present = [(metric, curve) for metric, curve in curves if curve.counts.any()]
    if not present:
        raise UserError(f"{options.data_folder(experiment.name)}: no results of these runs; run run.py first")
    for metric, curve in present:
        print_results([curve], metric)
        rows = [[run, *map("{:.2f}".format, row)] for run, row in zip(curve.runs, curve.values, strict=True)]
        header = [name for name in results_header([curve]) if name != "method"]
        print("\n" + tabulate(rows, headers=header, disable_numparse=True))
        print_paper_differences([curve], metric)


if __name__ == "__main__":
    run_script(main)

"""Print the results of VAAL runs: mean and deviation of every batch, and run by run."""

from collections.abc import Sequence

from tabulate import tabulate

from fisher_al.commands import options as cli
from fisher_al.commands.options import Parser, run_script
from fisher_al.commands.plan import data_folder, make_chains
from fisher_al.commands.plot import add_metric_option, print_paper_differences
from fisher_al.errors import UserError
from fisher_al.results.curves import collect_curves, print_results, results_header
from vaal.options import ONLY_VAAL, choose_experiments


def main(arguments: Sequence[str]) -> None:
    """`results.py`: tables of the accuracies that the checkpoints hold."""
    parser = Parser("Print the accuracies of VAAL runs, their mean, and what the paper's differ by.")
    experiments = choose_experiments(arguments)
    cli.add_common_options(parser, experiments)
    cli.add_range_options(parser)
    cli.add_budget_option(parser)
    cli.add_start_option(parser, several=True)
    add_metric_option(parser)
    parser.set_defaults(**ONLY_VAAL)
    args = parser.parse_args(arguments)
    experiment = experiments.choose(args)
    curves = collect_curves(make_chains(experiment, args, "cpu"), args.metric)
    present = [curve for curve in curves if curve.counts.any()]
    if not present:
        raise UserError(f"{data_folder(experiment, args)}: no results of these runs; run run.py first")
    for curve in present:
        print_results([curve])
        rows = [[run, *map("{:.2f}".format, row)] for run, row in zip(curve.runs, curve.values, strict=True)]
        header = [name for name in results_header([curve]) if name != "method"]
        print("\n" + tabulate(rows, headers=header, disable_numparse=True))
        print_paper_differences([curve])


if __name__ == "__main__":
    run_script(main)

"""Run VAAL on a dataset whose initial models are there: runs x rounds, skipping what is done."""

from collections.abc import Sequence
from dataclasses import dataclass

from fisher_al.commands.options import ComputeOptions, PlanOptions, PoolsOptions, StartsOptions
from fisher_al.commands.plan import make_chains
from fisher_al.commands.run import carry_out, refused_chains, report_failures
from fisher_al.commands.scripts import choose_device, parse, run_script
from fisher_al.results.curves import collect_curves, print_results
from vaal.chain import VaalChain, VaalTask, require_one_process
from vaal.options import ProtocolOptions, choose_datasets, chosen_curves


@dataclass(frozen=True)
class VaalRunOptions(ProtocolOptions, PlanOptions, ComputeOptions, StartsOptions, PoolsOptions):
    """Options of run.py."""


def main(arguments: Sequence[str]) -> int:
    """`run.py`: the rounds of all runs and pools."""
    require_one_process()
    datasets = choose_datasets(arguments)
    options, experiment = parse(
        "Run variational adversarial active learning, on the pools and from the initial models of the "
        "dataset's own run.py --initial. What is already done is skipped, so an interrupted run goes on "
        "where it was. With --dataset, --help also lists that dataset's own options.",
        VaalRunOptions,
        datasets,
        arguments,
        without=datasets.describing,
    )
    device, protocol = choose_device(options.gpu), options.protocol(options.dataset)
    curves = chosen_curves(experiment, options.unsupervised)
    chains = [
        VaalChain(**vars(chain), protocol=protocol)
        for chain in make_chains(experiment, options, curves, device, seed=options.seed)
    ]
    failed = carry_out([VaalTask(chain) for chain in chains], options, device, "round")
    if failed is None:
        return 0
    print_results(collect_curves(chains, unreadable=refused_chains(failed)))
    return report_failures(failed)


if __name__ == "__main__":
    run_script(main)

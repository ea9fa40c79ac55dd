"""Run VAAL on a dataset whose initial models are there: runs x rounds, skipping what is done."""

from collections.abc import Sequence

from fisher_al.commands import options as cli
from fisher_al.commands.options import Parser, choose_device, run_script
from fisher_al.commands.plan import make_chains
from fisher_al.commands.run import carry_out, refused_chains, report_failures
from fisher_al.results.curves import collect_curves, print_results
from vaal.chain import VaalChain, VaalTask
from vaal.options import ONLY_VAAL, add_protocol_options, choose_experiments, choose_protocol


def main(arguments: Sequence[str]) -> int:
    """`run.py`: the rounds of all runs and pools."""
    parser = Parser(
        "Run variational adversarial active learning, on the pools and from the initial models of the "
        "dataset's own run.py --initial. What is already done is skipped, so an interrupted run goes on "
        "where it was. With --dataset, --help also lists that dataset's own options."
    )
    experiments = choose_experiments(arguments)
    cli.add_common_options(parser, experiments)
    cli.add_range_options(parser)
    cli.add_budget_option(parser)
    cli.add_start_option(parser)
    cli.add_plan_options(parser)
    add_protocol_options(parser)
    parser.set_defaults(**ONLY_VAAL)
    args = parser.parse_args(arguments)
    experiment, protocol = experiments.choose(args), choose_protocol(args)
    device = choose_device(args.gpu)
    chains = [VaalChain(**vars(chain), protocol=protocol) for chain in make_chains(experiment, args, device)]
    failed = carry_out([VaalTask((chain,)) for chain in chains], args, device, "round")
    if failed is None:
        return 0
    print_results(collect_curves(chains, unreadable=refused_chains(failed)))
    return report_failures(failed)


if __name__ == "__main__":
    run_script(main)

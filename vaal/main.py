"""One round of one run: label, train anew, choose what to label next."""

from collections.abc import Sequence

from fisher_al.commands import options as cli
from fisher_al.commands.options import Parser, run_script
from fisher_al.commands.stages import alone, print_accuracies, progress_bar, stage_chain
from fisher_al.files.run_log import MAIN_DESCR
from fisher_al.method.registry import parse_method
from vaal.chain import VaalChain, run_round
from vaal.images import vae_images
from vaal.options import add_protocol_options, choose_experiments, choose_protocol


def main(arguments: Sequence[str]) -> None:
    """`main.py`: the round that starts from batch b and writes batch b + 1."""
    parser = Parser("Label the picks of a batch, train all networks anew, and write the next batch.")
    experiments = choose_experiments(arguments)
    cli.add_common_options(parser, experiments)
    cli.add_run_options(parser)
    cli.add_batch_options(parser)
    cli.add_budget_option(parser)
    cli.add_start_option(parser)
    add_protocol_options(parser)
    parser.set_defaults(ensemble_size=1, ensemble_index=0)
    args = parser.parse_args(arguments)
    experiment, protocol = experiments.choose(args), choose_protocol(args)
    chain = stage_chain(experiment, args, parse_method("vaal", experiment))
    chain = VaalChain(**vars(chain), protocol=protocol)
    cli.announce(chain.device)
    images = vae_images(chain.load_data().pool, experiment)
    with (
        alone(chain.log, chain.files, MAIN_DESCR, args) as note,
        progress_bar(protocol.train_iterations, "iteration") as on_iteration,
    ):
        result = run_round(chain, args.batch, images, on_iteration)
        note.update(result.accuracies)
    print(chain.model_path(args.batch + 1, 0))
    print_accuracies(result.accuracies, "iteration")


if __name__ == "__main__":
    run_script(main)

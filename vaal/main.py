"""One round of one run: label, train anew, choose what to label next."""

from collections.abc import Sequence
from dataclasses import dataclass

from fisher_al.commands.scripts import parse, run_script
from fisher_al.commands.stages import (
    IterationOptions,
    alone,
    iteration_chain,
    prepare_iteration,
    print_accuracies,
    progress_bar,
)
from fisher_al.experiment import parse_method
from fisher_al.files.run_log import MAIN_DESCR
from vaal.chain import VaalChain, pool_images, require_one_process, run_round
from vaal.options import ProtocolOptions, choose_datasets


@dataclass(frozen=True)
class VaalMainOptions(ProtocolOptions, IterationOptions):
    """Options of main.py."""


def main(arguments: Sequence[str]) -> None:
    """`main.py`: the round that starts from batch b and writes batch b + 1."""
    require_one_process()
    datasets = choose_datasets(arguments)
    options, experiment = parse(
        "Label the picks of a batch, train all networks anew, and write the next batch.",
        VaalMainOptions,
        datasets,
        arguments,
        without=(*datasets.describing, "ensemble_size", "ensemble_index"),
    )
    chain = iteration_chain(experiment, options, parse_method("vaal", experiment))
    chain = VaalChain(**vars(chain), protocol=options.protocol(options.dataset))
    prepare_iteration(chain, options.batch)
    images = pool_images(chain)
    with (
        alone(chain.log, chain.files, MAIN_DESCR, **chain.log_facts(options.batch)) as note,
        progress_bar(chain.protocol.train_iterations, "iteration") as on_iteration,
    ):
        result = run_round(chain, options.batch, images, on_iteration)
        note.update(result.accuracies)
    print(chain.model_path(options.batch + 1, 0))
    print_accuracies(result.accuracies, "iteration")


if __name__ == "__main__":
    run_script(main)

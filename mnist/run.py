"""Run the MNIST experiment: initial models with --initial, then the active learning."""

from functools import partial

from fisher_al.commands.run import run_main
from fisher_al.commands.scripts import run_script
from mnist.experiment import DATASETS

if __name__ == "__main__":
    run_script(partial(run_main, DATASETS))

"""Run the MNIST experiment: initial models with --initial, then the active learning."""

from functools import partial

from fisher_al.commands.options import run_script
from fisher_al.commands.run import run_main
from mnist.experiment import EXPERIMENTS

if __name__ == "__main__":
    run_script(partial(run_main, EXPERIMENTS))

"""Make a run's initial models: one with random weights, one pretrained to recognise rotations."""

from functools import partial

from fisher_al.commands.scripts import run_script
from fisher_al.commands.stages import unsup_main
from mnist.experiment import DATASETS

if __name__ == "__main__":
    run_script(partial(unsup_main, DATASETS))

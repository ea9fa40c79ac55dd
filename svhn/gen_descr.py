"""Describe the pool and validation images of one iteration."""

from functools import partial

from fisher_al.commands.scripts import run_script
from fisher_al.commands.stages import gen_descr_main
from svhn.experiment import DATASETS

if __name__ == "__main__":
    run_script(partial(gen_descr_main, DATASETS))

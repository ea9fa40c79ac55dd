"""Pick the images to label in one iteration, and retrain."""

from functools import partial

from fisher_al.commands.scripts import run_script
from fisher_al.commands.stages import main_descr_main
from imagenet.experiment import DATASETS

if __name__ == "__main__":
    run_script(partial(main_descr_main, DATASETS))

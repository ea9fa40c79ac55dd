"""Plot the accuracy curves and write their numbers."""

from functools import partial

from fisher_al.commands.plot import run_plot_main
from fisher_al.commands.scripts import run_script
from mnist.experiment import DATASETS

if __name__ == "__main__":
    run_script(partial(run_plot_main, DATASETS))

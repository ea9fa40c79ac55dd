"""Plot the accuracy curves and write their numbers."""

from functools import partial

from fisher_al.commands.options import run_script
from fisher_al.commands.plot import run_plot_main
from svhn.experiment import EXPERIMENTS

if __name__ == "__main__":
    run_script(partial(run_plot_main, EXPERIMENTS))

"""Show where test errors lie: confusion matrices and t-SNE of the test images."""

from functools import partial

from fisher_al.commands.scripts import run_script
from fisher_al.commands.visualize import visualize_tsne_main
from mnist.experiment import DATASETS

if __name__ == "__main__":
    run_script(partial(visualize_tsne_main, DATASETS))

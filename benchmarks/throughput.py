"""Several chains: one after another, and processes side by side."""

from machine import seconds_of

from fisher_al.running.runner import run_tasks
from fisher_al.running.tasks import ChainTask, InitialTask
from fisher_al.stages.unsup import InitialModel
from mnist.experiment import MNIST

ITERATIONS = 5


def throughput_rows(workshop):
    """Seconds of two chains of `ITERATIONS` each."""

    def seconds(name, jobs):
        layouts = [workshop.layout(f"{name}-{run}", pretrained=False) for run in "ab"]
        models = [InitialModel(MNIST, layout, 0, MNIST.pretraining, 0, "cpu") for layout in layouts]
        initial = [InitialTask(model) for model in models]
        for task in initial:
            task.prepare()
        run_tasks(initial, 1, "model")
        chains = [workshop.chain("gradFmap/80", layout, iterations=ITERATIONS) for layout in layouts]
        return seconds_of(lambda: run_tasks([ChainTask(chain) for chain in chains], jobs, "iteration"))

    alone = seconds("turn", 1)
    ways = {"one after another": alone, "--jobs 2": seconds("jobs", 2)}
    name = f"2 chains x {ITERATIONS} iterations, gradFmap/80"
    return [
        {"work": name, "how": how, "seconds": taken, "speed-up": alone / taken} for how, taken in ways.items()
    ]

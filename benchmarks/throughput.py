"""Several chains: one after another, processes side by side, and replicas in one batched step."""

from functools import partial

import torch
from machine import seconds_of

from fisher_al.data.images import Images
from fisher_al.method.network import seeded_network
from fisher_al.running.runner import run_tasks
from fisher_al.running.tasks import ChainTask, InitialModel
from fisher_al.training.steps import Trainer
from mnist.experiment import MNIST

ITERATIONS = 5


def throughput_rows(workshop):
    """Seconds of two chains of `ITERATIONS` each, and of training steps by the number of replicas."""
    return [*_chain_rows(workshop), *_step_rows()]


def _chain_rows(workshop):
    def run(name, jobs, replicas):
        layouts = [workshop.layout(run, pretrained=False) for run in (f"{name}-a", f"{name}-b")]
        initial = [InitialModel(MNIST, layout, 0, MNIST.pretraining, 0, "cpu") for layout in layouts]
        for task in initial:
            task.prepare()
        run_tasks(initial, 1, "model")
        chains = [workshop.chain("gradFmap/80", layout, iterations=ITERATIONS) for layout in layouts]
        together = tuple(chains) if replicas > 1 else ()
        tasks = [ChainTask(together, replicas)] if together else [ChainTask((chain,)) for chain in chains]
        return seconds_of(partial(run_tasks, tasks, jobs, "iteration"))

    alone = run("turn", 1, 1)
    ways = {
        "one after another": alone,
        "--jobs 2": run("jobs", 2, 1),
        "--replicas 2": run("replicas", 1, 2),
    }
    name = f"2 chains x {ITERATIONS} iterations, gradFmap/80"
    return [
        {"work": name, "how": how, "seconds": seconds, "speed-up": alone / seconds}
        for how, seconds in ways.items()
    ]


def _step_rows(steps=100):
    pixels, labels = torch.randint(0, 256, (25, 28, 28), dtype=torch.uint8), torch.arange(25) % 10
    inputs, labels = Images(pixels, labels, MNIST, "cpu")[:]
    alone = None
    for replicas in (1, 2, 5, 10):
        networks = [seeded_network(MNIST.network, 10, seed) for seed in range(replicas)]
        trainer = Trainer(networks, MNIST.training)
        batch = (inputs, labels)
        if replicas > 1:
            batch = torch.stack([inputs] * replicas), torch.stack([labels] * replicas)
        for _ in range(5):
            trainer.step(*batch)
        seconds = seconds_of(lambda trainer=trainer, batch=batch: trainer.step(*batch), steps) / replicas
        alone = alone or seconds
        yield {
            "work": "training step, batch 25, per network",
            "how": f"{replicas} in one step",
            "seconds": seconds,
            "speed-up": alone / seconds,
        }

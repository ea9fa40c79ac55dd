"""How the cost of descriptors grows with the pool, with L and with K."""

from machine import seconds_of

from fisher_al.running.runner import run_tasks
from fisher_al.running.tasks import InitialTask
from fisher_al.stages.gen_descr import gen_descr
from fisher_al.stages.main_descr import main_descr
from fisher_al.stages.unsup import InitialModel
from mnist.experiment import MNIST


def growth_rows(workshop):
    """Seconds of gen_descr.py for pools of ratio 100 (25,851 images) and 1 (50,000)."""
    rows = []
    for ratio in (100.0, 1.0):
        layout = workshop.layout("growth", ratio, pretrained=False)
        MNIST.source.prepare_pool(layout, 0)
        run_tasks([InitialTask(InitialModel(MNIST, layout, 0, MNIST.pretraining, 0, "cpu"))], 1, "model")
        seconds = {
            "gradFmap/20": _seconds(workshop.chain("gradFmap/20", layout)),
            "gradFmap/80": _seconds(workshop.chain("gradFmap/80", layout)),
            "cor/20, K = 32": _seconds(workshop.chain("cor/20", layout, mc_samples=32)),
        }
        uncertain = workshop.chain("varMC", layout)
        main_descr(uncertain, 0)  # at b = 0 it picks at random
        for samples in (32, 128):
            chain = workshop.chain("varMC", layout, mc_samples=samples)
            seconds[f"varMC, K = {samples}"] = _seconds(chain, batch=1)
        pool_size = len(uncertain.load_data().pool)
        rows.append({"pool": pool_size, **dict(sorted(seconds.items()))})
    return rows


def _seconds(chain, batch=0):
    chain.load_data()
    return seconds_of(lambda: gen_descr(chain, batch))

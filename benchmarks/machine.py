"""What the machine can do, and how much of it a piece of work asks for."""

import re
import statistics
import threading
import time
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from fisher_al.memory import memory_in_use, restart_peak


def seconds_of(work, repeats=1):
    """Median wall-clock seconds of calling `work`."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


class _Counter(TorchDispatchMode):
    """Adds up the operations of everything that torch has a formula for."""

    total = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        options = options or {}
        formula = flop_registry.get(function._overloadpacket)
        if formula is None:  # in inference mode, what consists of other operations arrives whole
            with self:
                parts = function.decompose(*arguments, **options)
            return function(*arguments, **options) if parts is NotImplemented else parts
        result = function(*arguments, **options)
        self.total += formula(*arguments, **options, out_val=result)
        return result


def operations_of(work):
    """Floating-point operations of the matrix products and convolutions that `work` carries out."""
    with _Counter() as counter:
        work()
    return counter.total


def matrix_product_speed(size=3000, repeats=9):
    """Operations per second of a float32 matrix product, median over repetitions."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    a @ b
    return 2 * size**3 / seconds_of(lambda: a @ b, repeats)


def peak_memory_of(work):
    """Bytes of memory at the peak of `work` beyond what was in use before; Linux only."""
    restart_peak()
    before = memory_in_use()
    work()
    return memory_in_use(peak=True) - before


def peak_own_memory_of(work):
    """Result of `work`, and bytes of memory at its peak beyond what was in use before, without the pages of
    mapped files, which the system can take back; sampled, Linux only."""
    before, samples, done = _own_memory(), [0], threading.Event()

    def watch():
        while not done.wait(0.02):
            samples.append(_own_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = work()
    finally:
        done.set()
        watcher.join()
    return result, max(0, max(samples) - before)


def _own_memory():
    return 1024 * int(re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


def description():
    """Processor, threads and version, for the record."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.is_file() else []
    processor = names[0] if names else "unknown processor"
    return {
        "processor": processor,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }

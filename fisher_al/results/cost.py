"""What the methods cost, from the logs of their chains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fisher_al.chain import Chain
from fisher_al.files.run_log import GEN_DESCR, MAIN_DESCR, stage_entries, versions
from fisher_al.files.storage import save_json

STAGES = (GEN_DESCR, MAIN_DESCR)
COST_HEADER = ["method", "runs", "iterations", *(f"{stage}, s" for stage in STAGES), "sum, s", "peak, MB"]


@dataclass(frozen=True)
class Cost:
    """Cost of one method: mean seconds of an iteration by stage, over `iterations` of `runs`, all members.

    peak_memory : bytes of the process, at most.
    """

    chain: Chain  # of the first run; the others differ in the run alone
    runs: int
    iterations: int
    seconds: dict[str, float]
    peak_memory: float

    @property
    def total(self) -> float:
        """Mean seconds of an iteration."""
        return sum(self.seconds.values())


def collect_costs(chains: Sequence[Chain]) -> list[Cost]:
    """The cost of every method whose chains have logs, at each of the imbalance ratios."""
    by_method: dict[tuple, list[Chain]] = {}
    for chain in chains:
        by_method.setdefault((chain.layout.imbalance_ratio, chain.curve_name), []).append(chain)
    costs = [_cost(group) for group in by_method.values()]
    return [cost for cost in costs if cost.iterations]


def _cost(chains: Sequence[Chain]) -> Cost:
    runs = iterations = 0
    seconds, peak_memory = dict.fromkeys(STAGES, 0.0), 0.0
    for chain in chains:
        stages = {stage: stage_entries(chain.log, stage, chain.budget) for stage in STAGES}
        complete = [
            batch
            for batch in range(chain.iterations)
            if all((batch, member) in stages[MAIN_DESCR] for member in chain.members)
        ]
        wanted = {(batch, member) for batch in complete for member in chain.members}
        entries = [
            (stage, entry) for stage in STAGES for key, entry in stages[stage].items() if key in wanted
        ]
        for stage, entry in entries:
            seconds[stage] += entry.get("seconds", 0)
            peak_memory = max(peak_memory, entry.get("peak_memory", 0))
        iterations += len(complete)
        runs += bool(complete)
    means = {stage: total / max(1, iterations) for stage, total in seconds.items()}
    return Cost(chains[0], runs, iterations, means, peak_memory)


def cost_table(costs: Sequence[Cost]) -> list[list[str]]:
    """Rows for a printed table under `COST_HEADER`."""
    return [
        [
            cost.chain.curve_name,
            str(cost.runs),
            str(cost.iterations),
            *(f"{seconds:.3g}" for seconds in [*cost.seconds.values(), cost.total]),
            f"{cost.peak_memory / 1e6:.0f}",
        ]
        for cost in costs
    ]


def write_costs(costs: Sequence[Cost], path: Path) -> None:
    """Write the costs as JSON, with the versions that draw them."""
    rows = [
        {
            "method": cost.chain.curve_name,
            "ir": cost.chain.layout.imbalance_ratio,
            "runs": cost.runs,
            "iterations": cost.iterations,
            "seconds per iteration": cost.seconds,
            "peak memory, bytes": cost.peak_memory,
        }
        for cost in costs
    ]
    save_json({"versions": versions(), "costs": rows}, path)

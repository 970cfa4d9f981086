"""What the processes of one service take together, under the names that one process has for it."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prometheus_client import Metric, ProcessCollector
from prometheus_client.registry import Collector

MEMORY = "process_resident_memory_bytes"
START = "process_start_time_seconds"


class Processes(Collector):
    """Sums over processes; memory that several of them map counts once, and the start is that of the oldest."""

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids

    def collect(self) -> Iterator[Metric]:
        found: dict[str, list[Metric]] = {}
        for pid in self._pids():
            for metric in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
                found.setdefault(metric.name, []).append(metric)
        for name, metrics in found.items():
            values = [metric.samples[0].value for metric in metrics]
            total = min(values) if name == START else sum(values)
            if name == MEMORY:
                total = sum(map(_proportional, self._pids())) or total
            whole = metrics[0]
            whole.samples = [whole.samples[0]._replace(value=float(total))]
            yield whole


def _proportional(pid: int) -> int:
    """Bytes of a process in memory, each page divided by how many processes map it; 0 where that cannot be read."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended, or belongs to somebody else
        return 0
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))

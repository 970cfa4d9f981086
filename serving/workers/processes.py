"""Process metrics of all processes of a service, under the names of the metrics of one process."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prometheus_client import Metric, ProcessCollector
from prometheus_client.registry import Collector

MEMORY = "process_resident_memory_bytes"
START = "process_start_time_seconds"


class Processes(Collector):
    """Sums over processes. Memory that several of them map counts once; the start time is that of the oldest."""

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids

    def collect(self) -> Iterator[Metric]:
        """Collect the metrics."""
        by_name: dict[str, list[Metric]] = {}
        for pid in self._pids():
            for metric in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
                by_name.setdefault(metric.name, []).append(metric)
        for name, metrics in by_name.items():
            values = [metric.samples[0].value for metric in metrics]
            total = min(values) if name == START else sum(values)
            if name == MEMORY:
                total = sum(map(_proportional, self._pids())) or total
            whole = metrics[0]
            whole.samples = [whole.samples[0]._replace(value=float(total))]
            yield whole


def _proportional(pid: int) -> int:
    """Resident bytes of a process, each page divided by the number of processes that map it; 0 if unreadable."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended, or belongs to another user
        return 0
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))

"""A service with one worker compared with two workers, under load by wrk on loopback: throughput, CPU time, memory.

Both services run and get load in turns. Memory that processes share counts once. `tables_mb` is the part of the memory
that belongs to the index, if the index is mapped from its own file.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import processes, world
from benchmarks.harness import arguments, finish, machine, progress
from benchmarks.service import FIRST, Load, Server, load
from two_tower.releases.release import activate

WORKERS = (1, 2)
CONNECTIONS = 16
K = 100
TABLES = "index.onnx.data"


class Service(NamedTuple):
    """A running service and its worker processes."""

    server: Server
    parent: int
    workers: list[int]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--items", type=int, default=100_000, help="Number of items.")
    args = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed. On Debian and Ubuntu: apt-get install wrk; on macOS: brew install wrk.")
    machine_info = machine()
    items, turns, seconds = (1_000, 1, 1) if args.quick else (args.items, 8, 3)
    with tempfile.TemporaryDirectory(prefix="benchmark-workers-") as folder:
        rows = measure(Path(folder), items, turns, seconds)
    one, two = rows
    claims = {
        "throughput_ratio_2_workers": round(two["requests_per_s"] / one["requests_per_s"], 2),
        "memory_ratio_2_workers": round(two["memory_mb"] / one["memory_mb"], 2),
        "failed": sum(row["failed"] for row in rows),
    }
    finish(rows, claims, machine_info | {"load_after": round(os.getloadavg()[0], 2)}, args.json)


def measure(folder: Path, items: int, turns: int, seconds: int) -> list[dict[str, Any]]:
    """Measure one row per number of workers."""
    made = world.make(folder)
    releases = folder / "releases"
    activate(releases, world.publish(made, items, releases, first=FIRST))
    log, ports = folder / "servers.log", {many: processes.free_port() for many in WORKERS}
    one, two = (processes.service(releases, ports[many], log, {"TWO_TOWER_WORKERS": str(many)}) for many in WORKERS)
    with one as first, two as second:
        services = {
            many: Service(
                Server(f"{many} workers", ports[many], "/v1/recommend", f'{{"user_id": %d, "k": {K}}}'),
                process.pid,
                _children(process.pid) or [process.pid],
            )
            for many, process in zip(WORKERS, (first, second), strict=True)
        }
        loads: dict[int, list[Load]] = {many: [] for many in WORKERS}
        cpu: dict[int, list[float]] = {many: [] for many in WORKERS}
        # Wait for all workers: otherwise the first one handles all requests.
        while log.read_text().count("Application startup complete") < sum(WORKERS):
            time.sleep(0.1)
        for service in services.values():
            load(service.server, made, CONNECTIONS, 1)  # warm
        for turn in range(turns):
            for many, service in services.items():
                before = sum(map(_cpu, service.workers))
                loads[many].append(load(service.server, made, CONNECTIONS, seconds, turn))
                used = sum(map(_cpu, service.workers)) - before
                cpu[many].append(1e3 * used / (loads[many][-1].per_second * seconds))
                progress(f"{many} workers: {loads[many][-1].per_second:.0f} requests/s")
        return [_row(items, many, services[many], loads[many], cpu[many]) for many in WORKERS]


def _row(items: int, many: int, service: Service, loads: Sequence[Load], cpu: Sequence[float]) -> dict[str, Any]:
    tables = [_memory(pid, TABLES) for pid in service.workers]
    all_ = [_memory(pid)[1] for pid in {service.parent, *service.workers}]
    once = max(resident for resident, _ in tables)  # the other service maps the same file too and would share the cost
    return {
        "items": items,
        "workers": many,
        "requests_per_s": round(float(np.median([one.per_second for one in loads])), 1),
        "p50_ms": round(float(np.median([one.p50 for one in loads])), 2),
        "p99_ms": round(float(np.median([one.p99 for one in loads])), 2),
        "cpu_ms": round(float(np.median(cpu)), 2),
        "memory_mb": sum(all_) - sum(proportional for _, proportional in tables) + once,
        "tables_mb": once,
        "failed": sum(one.failed for one in loads),
    }


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _cpu(pid: int) -> float:
    """Return the CPU time of a process in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int, name: str = "") -> tuple[int, int]:
    """Return resident and proportional memory in MB of a process, or of its mapped files whose name contains `name`."""
    kilobytes, counted = {"Rss:": 0, "Pss:": 0}, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first, *words = line.split()
        if not first.endswith(":"):
            counted = name in line
        elif counted and first in kilobytes:
            kilobytes[first] += int(words[0])
    return kilobytes["Rss:"] // 1000, kilobytes["Pss:"] // 1000


if __name__ == "__main__":
    main()

"""Shared by all benchmarks: timing on a machine with other load, progress lines, the table and the JSON file."""

import argparse
import contextlib
import io
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("numpy", "onnxruntime-gpu", "faiss-cpu", "torch", "feast", "kserve", "two-tower")


def arguments(description: str) -> argparse.ArgumentParser:
    """Create a parser with the options of every benchmark: --json and --quick."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, metavar="F", help="Write machine, rows and claims to this JSON file.")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="Run on small data for a short time. Shows that the benchmark works; the figures mean nothing.",
    )
    return parser


def machine() -> dict[str, Any]:
    """Describe the machine. `load` is the load average of the last minute at the start of the benchmark."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: number for name in LIBRARIES if (number := _version(name))},
        "load": round(os.getloadavg()[0], 2),
    }


def progress(text: str) -> None:
    """Print a progress line with the time of day to stderr."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def alternate(runs: Mapping[str, Callable[[], object]], seconds: float, least: int = 5) -> dict[str, list[float]]:
    """Time several calls in turns, so that other load on the machine affects all of them alike.

    Args:
        runs: The calls by name. Each is called once without timing first.
        seconds: Time each call for about this many seconds of its own, with 200 calls at most.
        least: Time each call at least this often.

    Returns:
        The duration of each timed call in seconds, by name.
    """
    durations: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    while True:
        unfinished = [
            name for name, all_ in durations.items() if len(all_) < least or (sum(all_) < seconds and len(all_) < 200)
        ]
        if not unfinished:
            return durations
        for name in unfinished:
            began = time.perf_counter()
            runs[name]()
            durations[name].append(time.perf_counter() - began)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format rows that have the same keys as a text table."""
    if not rows:
        return ""
    names = list(rows[0])
    cells = [names, *[[_cell(row.get(name, "")) for name in names] for row in rows]]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)


def finish(rows: Sequence[Mapping[str, Any]], claims: Mapping[str, Any], machine_info: Any, file: Path | None) -> None:
    """Print the table and the claims, and write the JSON file if there is one."""
    print(table(rows))
    print()
    print(table([{"claim": name, "value": value} for name, value in claims.items()]))
    if file:
        file.write_text(json.dumps({"machine": machine_info, "rows": list(rows), "claims": dict(claims)}, indent=1))


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress the output and the warnings of the libraries; a benchmark prints its own progress."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield

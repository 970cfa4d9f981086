"""What the benchmarks share: fair timing on a machine that others use too, progress, a table, the JSON file."""

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
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, metavar="F", help="write machine, rows and claims to this file")
    parser.add_argument("--quick", action="store_true", help="small and short: shows that it runs, not how fast")
    return parser


def machine() -> dict[str, Any]:
    """Where the figures come from; `load` is the load average of the last minute when the benchmark began."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: found for name in LIBRARIES if (found := _version(name))},
        "load": round(os.getloadavg()[0], 2),
    }


def progress(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def alternate(runs: Mapping[str, Callable[[], object]], seconds: float, least: int = 5) -> dict[str, list[float]]:
    """Seconds of each call, by name. The calls take turns, so that what else the machine does hits all alike.

    Each is called once unmeasured, then `least` times or for about `seconds` of its own, whichever is more, 200 times
    at most.
    """
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    while True:
        open_to = [
            name for name, all_ in taken.items() if len(all_) < least or (sum(all_) < seconds and len(all_) < 200)
        ]
        if not open_to:
            return taken
        for name in open_to:
            began = time.perf_counter()
            runs[name]()
            taken[name].append(time.perf_counter() - began)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys, as text in columns."""
    if not rows:
        return ""
    names = list(rows[0])
    cells = [names, *[[_shown(row.get(name, "")) for name in names] for row in rows]]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)


def finish(rows: Sequence[Mapping[str, Any]], claims: Mapping[str, Any], described: Any, file: Path | None) -> None:
    """Print the table and the claims; write the file."""
    print(table(rows))
    print()
    print(table([{"claim": name, "value": value} for name, value in claims.items()]))
    if file:
        file.write_text(json.dumps({"machine": described, "rows": list(rows), "claims": dict(claims)}, indent=1))


def _shown(value: Any) -> str:
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
    """Without what the libraries below print and warn of; a benchmark prints its own progress."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield

"""`make demo`: runs the pipeline on simulated data, then requests recommendations for three users."""

import argparse
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from pipelines.cli.console import plain_console
from pipelines.cli.progress import progress
from pipelines.local.run import Request, run_training
from two_tower.datasets import load
from two_tower.releases import release

DATASET = "sample"
COLUMNS = ("category", "origin", "price", "tags")
LATEST = 5
TIMEOUT = 60  # seconds until the service must be ready


def main() -> int:
    """Run, serve, request, stop. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs") / DATASET)
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    out, err = plain_console(), plain_console(stderr=True)

    request = Request.of(DATASET, None, None, options.out, "", [])
    if status := run_training(request, out, err):
        return status
    releases = request.out / "releases"
    with service(releases, options.port) as ready:
        with progress(err, "reading the data while the service starts"):
            tables = load(DATASET)
        with progress(err, "starting the service"):
            url = ready()
        out.print(f"\nPOST {url}/v1/recommend for three users\n")
        for user in _three_users(tables.interactions):
            response = post(f"{url}/v1/recommend", {"user_id": user, "k": LATEST})
            _print(out, user, _history(tables.interactions, user), response, _items(releases))
    out.print(f"report: {request.out / 'report.html'}")
    out.print(f"to send more requests: .venv/bin/two-tower serve --releases {releases} --port {options.port}")
    return 0


@contextmanager
def service(releases: Path, port: int) -> Iterator[Callable[[], str]]:
    """Run the service in a process of its own and stop it at the end.

    Yields:
        A function that waits until the service is ready and returns its URL.
    """
    command = [sys.executable, "-m", "pipelines", "serve", "--releases", str(releases), "--port", str(port)]
    address, log = f"http://127.0.0.1:{port}", releases.parent / "service.log"
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:

        def ready() -> str:
            _wait(f"{address}/v2/health/ready", process, log)
            return address

        try:
            yield ready
        finally:
            process.terminate()


def post(url: str, body: dict[str, Any]) -> Any:
    """Send a JSON request and return the JSON response."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        return json.load(response)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310
                return
        except OSError:  # refused, or no response yet
            time.sleep(0.2)
    raise SystemExit(f"the service did not become ready; its log ({log}) ends:\n{log.read_text()[-2000:]}")


def _three_users(interactions: pa.Table) -> list[str]:
    """Users of the newest interactions."""
    newest = interactions.sort_by([("event_timestamp", "descending")])["user_id"].unique()
    return newest.slice(0, 3).to_pylist()


def _history(interactions: pa.Table, user: str) -> list[str]:
    mine = interactions.filter(pa.compute.equal(interactions["user_id"], user))
    return mine.sort_by([("event_timestamp", "descending")])["item_id"].slice(0, LATEST).to_pylist()


def _items(releases: Path) -> dict[str, dict[str, Any]]:
    current = release.current(releases)
    rows = pq.read_table(releases / str(current) / "items.parquet").to_pylist()
    return {row["item_id"]: row for row in rows}


def _print(out: Console, user: str, history: list[str], response: Any, items: dict[str, dict[str, Any]]) -> None:
    table = Table("", "item", *COLUMNS, "score", title=f"user {user}", title_justify="left")
    for item in history:
        table.add_row("history", item, *_cells(items[item]), "", style="dim")
    for rank, item in enumerate(response["items"], 1):
        name = item["item_id"]
        table.add_row(f"{rank}.", name, *_cells(items[name]), f"{item['score']:.3f}")
    out.print(table)


def _cells(item: dict[str, Any]) -> list[str]:
    cells = []
    for name in COLUMNS:
        value = item[name]
        cells.append(
            ", ".join(value) if isinstance(value, list) else f"{value:.2f}" if isinstance(value, float) else value
        )
    return cells


if __name__ == "__main__":
    sys.exit(main())

"""The service compared with a simple service of one afternoon's work, under load by wrk on loopback.

Both serve the same users from the same online store with the same catalogue, and get load in turns. Our rows split the
time by stage; `overhead_ms_p50` is the time of a single request beyond feature lookup, user tower and search.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import processes, world
from benchmarks.harness import arguments, finish, machine, progress
from two_tower.releases.release import activate

K = 100
CONNECTIONS = (1, 16, 64)
SIZES = (10_000, 1_000_000)
ROUNDS = 3  # measurements of each server per number of connections; the table has their median
FIRST = 10_000_000  # the first item id
STAGES = ("store", "embed", "search")

_SCRIPT = """
local users = {{{users}}}
local place = {seed}
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
request = function()
  place = place % #users + 1
  return wrk.format("POST", "{path}", nil, string.format('{body}', users[place]))
end
"""


class Server(NamedTuple):
    """How to send a request to one of the servers; `%d` in the body stands for the user."""

    name: str
    port: int
    path: str
    body: str


class Load(NamedTuple):
    """Result of wrk. p50, p99: milliseconds. failed: responses with an error status, and connection errors."""

    per_second: float
    p50: float
    p99: float
    failed: int


def main() -> None:
    args = arguments(__doc__).parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed. On Debian and Ubuntu: apt-get install wrk; on macOS: brew install wrk.")
    machine_info = machine()
    sizes, connections, rounds, seconds = (SIZES, CONNECTIONS, ROUNDS, 5)
    if args.quick:
        sizes, connections, rounds, seconds = ((1_000,), (1, 4), 1, 1)
    with tempfile.TemporaryDirectory(prefix="benchmark-service-") as folder:
        made = world.make(Path(folder))
        rows = [row for items in sizes for row in measure(made, items, connections, rounds, seconds)]
    finish(rows, claims(rows, sizes), machine_info | {"load_after": round(os.getloadavg()[0], 2)}, args.json)


def measure(
    made: world.World, items: int, connections: tuple[int, ...], rounds: int, seconds: int
) -> list[dict[str, Any]]:
    """Measure one row per server and number of connections."""
    progress(f"{items:,} items: publishing")
    releases = made.folder / f"releases-{items}"
    activate(releases, world.publish(made, items, releases, first=FIRST))
    saved = made.folder / f"items-{items}.npz"
    np.savez(saved, ids=np.arange(FIRST, FIRST + items), vectors=world.item_vectors(items))
    log = made.folder / "servers.log"
    ours = Server("ours", processes.free_port(), "/v1/recommend", f'{{"user_id": %d, "k": {K}}}')
    path = "/v1/models/two_tower:predict"
    peer = Server("afternoon", processes.free_port(), path, f'{{"instances": [{{"user_id": %d, "k": {K}}}]}}')
    command = [sys.executable, "-m", "benchmarks.peers.afternoon", str(made.repo), str(made.model), str(saved)]
    with (
        processes.service(releases, ours.port, log),
        # One thread per call is its best setting: otherwise the threads of FAISS and torch wait for each other.
        processes.running([*command, str(peer.port)], peer.port, "/v2/health/ready", log, {"OMP_NUM_THREADS": "1"}),
    ):
        rows = []
        for server in (ours, peer):
            load(server, made, 1, 1)  # warm
        for many in connections:
            loads: dict[str, list[Load]] = {ours.name: [], peer.name: []}
            before = _stages(ours.port)
            for turn in range(rounds):
                for server in (ours, peer):
                    loads[server.name].append(load(server, made, many, seconds, turn))
            after = _stages(ours.port)
            for name, measured in loads.items():
                rows.append(_row(name, items, many, measured, before, after))
                progress(f"{items:,} items, {many} connections, {name}: {rows[-1]['requests_per_s']} requests/s")
    return rows


def load(server: Server, made: world.World, connections: int, seconds: int, seed: int = 0) -> Load:
    """Run wrk against one server for `seconds` seconds."""
    script = made.folder / "load.lua"
    users = ", ".join(str(user) for user in made.users[:500])
    script.write_text(_SCRIPT.format(users=users, seed=seed * 37, path=server.path, body=server.body))
    command = ["wrk", "--latency", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script)]
    url = f"http://{processes.HOST}:{server.port}{server.path}"
    done = subprocess.run([*command, url], capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode:
        sys.exit(f"wrk failed on {server.name}: {done.stdout[-500:]} {done.stderr[-500:]}")
    return parsed(done.stdout)


def parsed(output: str) -> Load:
    """Parse the output of wrk."""

    def milliseconds(share: str) -> float:
        match = re.search(rf"^\s+{share}%\s+([\d.]+)(us|ms|s|m)\s*$", output, re.MULTILINE)
        assert match, output
        return float(match[1]) * {"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}[match[2]]

    per_second = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert per_second, output
    statuses = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    failed = int(statuses[1]) if statuses else 0
    failed += sum(map(int, sockets.groups())) if sockets else 0
    return Load(float(per_second[1]), milliseconds("50"), milliseconds("99"), failed)


def claims(rows: list[dict[str, Any]], sizes: tuple[int, ...]) -> dict[str, Any]:
    """Compute the claims per catalogue size.

    Throughput is the best of each server over the numbers of connections; p99 is ours at 16 connections.
    """
    values: dict[str, Any] = {}
    for items, name in zip(sizes, ("10k", "1m"), strict=False):
        of = {
            server: [r for r in rows if r["items"] == items and r["server"] == server]
            for server in ("ours", "afternoon")
        }
        best = {server: max(r["requests_per_s"] for r in all_) for server, all_ in of.items()}
        values[f"throughput_ratio_{name}"] = round(best["ours"] / best["afternoon"], 2)
        values[f"p99_ms_{name}"] = [r["p99_ms"] for r in of["ours"] if r["connections"] <= 16][-1]
    one = next(r for r in rows if r["server"] == "ours" and r["connections"] == 1)
    values["overhead_ms_p50"] = round(one["p50_ms"] - sum(one[f"{stage}_ms"] for stage in STAGES), 3)
    values["failed"] = sum(r["failed"] for r in rows)
    return values


def _stages(port: int) -> dict[str, tuple[float, float]]:
    """Read total seconds and number of requests per stage since the start of the service."""
    text = processes.call(port, "GET", "/metrics")[1].decode()

    def value(kind: str, stage: str) -> float:
        match = re.search(rf'^two_tower_stage_seconds_{kind}{{stage="{stage}"}} (\S+)$', text, re.MULTILINE)
        return float(match[1]) if match else 0.0

    return {stage: (value("sum", stage), value("count", stage)) for stage in STAGES}


def _row(
    name: str, items: int, connections: int, loads: list[Load], before: dict[str, Any], after: dict[str, Any]
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "items": items,
        "connections": connections,
        "server": name,
        "requests_per_s": round(float(np.median([one.per_second for one in loads])), 1),
        "p50_ms": round(float(np.median([one.p50 for one in loads])), 3),
        "p99_ms": round(float(np.median([one.p99 for one in loads])), 3),
        "failed": sum(one.failed for one in loads),
    }
    for stage in STAGES:
        spent, calls = (after[stage][i] - before[stage][i] for i in (0, 1))
        row[f"{stage}_ms"] = round(1e3 * spent / calls, 3) if name == "ours" and calls else ""
    return row


if __name__ == "__main__":
    main()

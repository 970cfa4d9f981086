"""The workloads of `benchmarks.before`, run as a script in this checkout and in an earlier one.

Only what both have is called: the Python API of `two_tower`, the command line, and `two_tower.retrieval.index`. The
script prepares its data, prints the folder of the library that it imported, and then runs one unit of work for each
line of standard input and prints its seconds. It ends with standard input.

- index: a catalogue of unit vectors; a unit is 200 single queries and 10 batches of 32, the best 100 of each.
- service: a release of the data set `sample` behind `two-tower serve`; a unit is 2 seconds of wrk on 16 connections.
  Its seconds are 1 over the requests per second.
- training: the data set `sample`; a unit trains both towers for one epoch, from fitting the encoders to validation.
- features: the data set `sample`; a unit is the point-in-time pull.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TextIO

import numpy as np

SCRIPT = """
wrk.method = "POST"
local users, turn = {{ {users} }}, 0
request = function()
    turn = turn + 1
    return wrk.format(nil, "/v1/recommend", nil, '{{"user_id": "' .. users[turn % #users + 1] .. '", "k": 20}}')
end
"""


@contextmanager
def index(folder: Path, *, quick: bool) -> Iterator[Callable[[], float]]:
    from two_tower.retrieval.index import Index, build

    rng = np.random.default_rng(0)

    def unit_vectors(count: int) -> np.ndarray:
        vectors = rng.standard_normal((count, 64), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    items, queries = unit_vectors(5_000 if quick else 200_000), unit_vectors(520)
    build(items, "dot", "benchmark", folder / "index.onnx")
    opened = Index(folder / "index.onnx", "cpu", len(os.sched_getaffinity(0)))

    def search() -> None:
        for query in queries[:200]:
            opened.search(query[None], 100)
        for batch in np.split(queries[200:], 10):
            opened.search(batch, 100)

    yield lambda: timed(search)


@contextmanager
def service(folder: Path, *, quick: bool) -> Iterator[Callable[[], float]]:
    command = [sys.executable, "-m", "pipelines"]
    settings = ("epochs=1", "min_lift=0", "bootstrap_samples=10")
    assignments = [word for setting in settings for word in ("--set", setting)]
    dataset = "checkerboard" if quick else "sample"
    subprocess.run(
        [*command, "run", "--dataset", dataset, "--out", str(folder), *assignments], check=True, stdout=sys.stderr
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [*command, "serve", "--releases", str(folder / "releases"), "--port", str(port)], stdout=sys.stderr
    )
    try:
        wait_for(f"{url}/v2/health/ready", server)
        script = folder / "load.lua"
        users = [str(number) if quick else f"u{number:05d}" for number in range(1, 101)]
        script.write_text(SCRIPT.format(users=", ".join(f'"{user}"' for user in users)))
        load = ["wrk", "-t1", "-c16", f"-d{1 if quick else 2}s", "-s", str(script), url]

        def per_request() -> float:
            text = subprocess.run(load, check=True, capture_output=True, text=True).stdout
            rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
            assert rate and float(rate[1]) > 0 and "Non-2xx" not in text, text
            return 1 / float(rate[1])

        yield per_request
    finally:
        server.terminate()
        server.wait(30)


@contextmanager
def training(folder: Path, *, quick: bool) -> Iterator[Callable[[], float]]:
    import two_tower

    pulled = two_tower.pull_features(repository(folder, quick=quick))
    yield lambda: timed(lambda: two_tower.train_towers(pulled, epochs=1, device="cpu"))


@contextmanager
def features(folder: Path, *, quick: bool) -> Iterator[Callable[[], float]]:
    import two_tower

    repo = repository(folder, quick=quick)
    yield lambda: timed(lambda: two_tower.pull_features(repo))


WORKLOADS = {"index": index, "service": service, "training": training, "features": features}


def repository(folder: Path, *, quick: bool) -> Path:
    import two_tower

    return two_tower.prepare_dataset("checkerboard" if quick else "sample", folder / "repo")


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def wait_for(url: str, server: subprocess.Popen[bytes], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:  # not listening yet, or not ready
            time.sleep(0.2)
    raise RuntimeError(f"the service at {url} did not become ready within {seconds:.0f} s")


def main(name: str, folder: Path, replies: TextIO, *, quick: bool) -> None:
    import two_tower

    def reply(body: dict[str, object]) -> None:
        print(json.dumps(body), file=replies, flush=True)

    with WORKLOADS[name](folder, quick=quick) as run:
        reply({"library": str(Path(two_tower.__file__).parent)})
        for _ in sys.stdin:
            reply({"seconds": run()})


if __name__ == "__main__":
    with redirect_stdout(sys.stderr) as _:  # standard output is for the replies alone
        main(sys.argv[1], Path(sys.argv[2]), sys.__stdout__, quick="--quick" in sys.argv)

"""Speed of this checkout over that of an earlier commit: `python -m benchmarks.before [REF] NAME...`.

REF is a commit that git knows (default: 4980aa7) or, with `--archive FILE`, the name under which the tar file is
reported. NAME is one or more of index, service, training, features. `benchmarks/workloads.py` describes what each of
them runs; both sides get the same settings and the same data.

Each side is a process of its own that prepares its data and then runs one unit of work at a time. The two sides take
turns in the order now, then, then, now, so that other load on the machine affects both alike. The ratio of an
alternation is the speed of now over the speed of then: above 1, this checkout is faster. The claims are the median over
all alternations, `NAME_ratio`, and its 90 % interval, `NAME_ratio_low` and `NAME_ratio_high`. This checkout is slower
where `NAME_ratio_high` is below 0.97.

The commit is checked out into a temporary folder. If its requirements.lock differs from this checkout's, it gets an
environment of its own from that lock, which needs the network. With `--archive`, or with equal locks, both sides run in
this interpreter.

Source of the interval: W. J. Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2 (confidence interval of
a quantile from order statistics).
"""

import argparse
import io
import json
import math
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness import arguments, finish, machine, progress
from benchmarks.processes import ROOT

REF = "4980aa7"
NAMES = ("index", "service", "training", "features")
LEAST = 9  # alternations, below which the interval of a median says little
LOCK = "requirements.lock"
WORKLOADS = ROOT / "benchmarks" / "workloads.py"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "words", nargs="+", metavar="REF|NAME", help="a commit, then one or more of " + ", ".join(NAMES)
    )
    parser.add_argument(
        "--archive",
        type=Path,
        metavar="FILE",
        help="a tar file of REF (`git archive REF`), for a machine without network",
    )
    parser.add_argument("--alternations", type=int, default=13, metavar="N", help=f"at least {LEAST}; default: 13")
    options = parser.parse_args()
    ref, names = request(parser, options.words)
    if options.alternations < LEAST:
        parser.error(f"--alternations {options.alternations} is too few. Allowed: {LEAST} or more.")
    described = machine() | {"before": ref}
    rows: list[dict[str, Any]] = []
    claims: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="benchmark-before-") as temporary:
        folder = Path(temporary)
        tree = unpacked(archive(ref, options.archive), folder / "then")
        python = interpreter(tree, folder / "venv", same=options.archive is not None)
        for name in names:
            ratios = alternate(name, tree, python, folder / name, options.alternations, quick=options.quick)
            low, median, high = interval(ratios)
            claims |= {f"{name}_ratio": median, f"{name}_ratio_low": low, f"{name}_ratio_high": high}
            row = {"workload": name, "ratio": median, "low": low, "high": high, "alternations": len(ratios)}
            rows.append(row | {"slower": "yes" if high < 0.97 else "no"})
    finish(rows, claims, described | {"load_after": round(os.getloadavg()[0], 2)}, options.json)


def request(parser: argparse.ArgumentParser, words: Sequence[str]) -> tuple[str, list[str]]:
    """Split the positional arguments into the commit and the names of the workloads."""
    ref, names = (REF, list(words)) if words[0] in NAMES else (words[0], list(words[1:]))
    unknown = [name for name in names if name not in NAMES]
    if unknown or not names:
        parser.error(f"unknown workload {' '.join(unknown)!r}. Allowed: {', '.join(NAMES)}.")
    return ref, names


def archive(ref: str, file: Path | None) -> bytes:
    """Return the tar file of a commit, from `file` or from git."""
    if file:
        return file.read_bytes()
    packed = subprocess.run(["git", "archive", "--format=tar", ref], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        sys.exit(f"git does not know {ref!r}: {packed.stderr.decode().strip()}. Fetch it, or give --archive FILE.")
    return packed.stdout


def unpacked(content: bytes, folder: Path) -> Path:
    """Unpack a tar file and return the folder that holds `two_tower/`."""
    with tarfile.open(fileobj=io.BytesIO(content)) as packed:
        packed.extractall(folder, filter="data")
    roots = [root for root in (folder, *folder.iterdir()) if (root / "two_tower").is_dir()]
    if not roots:
        sys.exit("the archive does not contain the folder two_tower/. Make it with `git archive --output FILE REF`.")
    return roots[0]


def interpreter(tree: Path, folder: Path, *, same: bool) -> str:
    """Return the Python that runs `tree`: this one if the locks are equal or `same` is set, else one of its own."""
    if same or (tree / LOCK).read_text() == (ROOT / LOCK).read_text():
        return sys.executable
    progress(f"{LOCK} differs: making an environment for the earlier commit")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    torch = next(line for line in (tree / LOCK).read_text().splitlines() if line.startswith("torch=="))
    for packages in ([torch], ["--requirement", str(tree / LOCK)]):  # torch first, as `make install` does
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def alternate(name: str, tree: Path, python: str, folder: Path, alternations: int, *, quick: bool) -> list[float]:
    """Run one workload on both sides in turns. Returns the speed of now over the speed of then, per alternation."""
    with ExitStack() as stack:
        runs = {}
        for side, (root, executable) in {"now": (ROOT, sys.executable), "then": (tree, python)}.items():
            progress(f"{name}: preparing {side}")
            runs[side] = stack.enter_context(worker(name, root, executable, folder / side, quick=quick))
        for run in runs.values():
            run()  # unmeasured
        ratios = []
        for number in range(alternations):
            order = ("now", "then") if number % 2 == 0 else ("then", "now")
            seconds = {side: runs[side]() for side in order}
            ratios.append(seconds["then"] / seconds["now"])
            progress(f"{name}: {number + 1} of {alternations}, ratio {ratios[-1]:.3f}")
        return ratios


@contextmanager
def worker(name: str, root: Path, python: str, folder: Path, *, quick: bool) -> Iterator[Callable[[], float]]:
    """A process that holds one side's workload, prepared. Yields a call that runs one unit and returns its seconds."""
    folder.mkdir(parents=True)
    command = [python, str(WORKLOADS), name, str(folder), *(["--quick"] if quick else [])]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONSAFEPATH": "1"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=root, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
        assert process.stdin and process.stdout

        def reply() -> dict[str, Any]:
            assert process.stdout
            line = process.stdout.readline()
            if not line:
                sys.exit(f"{name} failed in {root}:\n{(folder / 'log').read_text()[-3000:]}")
            return json.loads(line)

        def run() -> float:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
            return float(reply()["seconds"])

        try:
            library = Path(reply()["library"])
            assert library.is_relative_to(root), f"{library} was imported in place of {root}"
            yield run
        finally:
            process.stdin.close()  # the worker stops what it started, and ends
            process.wait(60)


def interval(ratios: Sequence[float], confidence: float = 0.9) -> tuple[float, float, float]:
    """Return the median and its interval from order statistics: low, median, high.

    The interval runs from the r-th smallest to the r-th largest ratio, with the greatest r whose coverage under the
    binomial distribution is at least `confidence`.
    """
    ordered, count = sorted(ratios), len(ratios)
    rank = 0
    while 1 - 2 * sum(math.comb(count, i) for i in range(rank + 1)) / 2**count >= confidence:
        rank += 1
    assert rank, f"{count} ratios are too few for an interval"
    return ordered[rank - 1], statistics.median(ordered), ordered[count - rank]


if __name__ == "__main__":
    main()

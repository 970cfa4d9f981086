"""Do the tests notice a fault? `python -m benchmarks.mutations [--only NAME] [--json F]`.

Each mutation of `benchmarks.mutation_list` replaces one text in a copy of the checkout, and the tests that should catch
it run there. A mutation is caught if a test fails, and survives if all tests pass. The same tests run once on the
unchanged copy, where all must pass.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import arguments, finish, machine, progress
from benchmarks.mutation_list import MUTATIONS, Mutation

ROOT = Path(__file__).parents[1]
QUICK = 2  # mutations of a quick run
_PASSED, _FAILED = 0, 1  # exit statuses of pytest


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", metavar="NAME", action="append", help="run this mutation; can be given several times")
    args = parser.parse_args()
    chosen = [mutation for mutation in MUTATIONS if not args.only or mutation.name in args.only]
    unknown = sorted(set(args.only or ()) - {mutation.name for mutation in chosen})
    if unknown:
        sys.exit(f"--only {unknown[0]}: no such mutation. Choose from {', '.join(m.name for m in MUTATIONS)}.")
    described = machine()
    with tempfile.TemporaryDirectory(prefix="benchmark-mutations-") as folder:
        rows = measure(chosen[:QUICK] if args.quick else chosen, ROOT, Path(folder))
    caught = sum(row["result"] == "caught" for row in rows)
    finish(rows, {"mutations": len(rows), "caught": caught}, described, args.json)


def measure(mutations: Sequence[Mutation], root: Path, folder: Path) -> list[dict[str, Any]]:
    """Apply each mutation to a copy of `root` in `folder` and run its tests; returns one row per mutation."""
    misplaced = [f"{m.name}: {count} times in {m.file}" for m in mutations if (count := occurrences(m, root)) != 1]
    if misplaced:
        sys.exit(f"each text must occur exactly once: {'; '.join(misplaced)}. Correct benchmarks/mutation_list.py.")
    copy_checkout(root, folder)
    progress("the tests on the unchanged code")
    status, output = run_tests(sorted({test for mutation in mutations for test in mutation.tests}), folder)
    if status != _PASSED:
        sys.exit(f"the tests fail on the unchanged code:\n{output}")
    rows = []
    for number, mutation in enumerate(mutations, start=1):
        progress(f"{number} of {len(mutations)}: {mutation.name}")
        rows.append(_row(mutation, folder))
    return rows


def occurrences(mutation: Mutation, root: Path) -> int:
    """Count how often the text to replace occurs in its file."""
    path = root / mutation.file
    return path.read_text().count(mutation.old) if path.exists() else 0


def copy_checkout(root: Path, folder: Path) -> None:
    """Copy the files that git tracks or would track."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)


def run_tests(tests: Iterable[str], folder: Path) -> tuple[int, str]:
    """Run tests in a copy of the checkout until one fails; returns pytest's exit status and its output."""
    # Without byte code: a mutated file of the same size and second would be run from the stale one.
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def _row(mutation: Mutation, folder: Path) -> dict[str, Any]:
    path = folder / mutation.file
    original = path.read_text()
    path.write_text(original.replace(mutation.old, mutation.new))
    try:
        status, output = run_tests(mutation.tests, folder)
    finally:
        path.write_text(original)
    if status not in (_PASSED, _FAILED):
        sys.exit(f"{mutation.name}: pytest did not run the tests (exit status {status}):\n{output}")
    failed = [line.split(" - ")[0].removeprefix("FAILED ") for line in output.splitlines() if line.startswith("FAILED")]
    return {
        "mutation": mutation.name,
        "file": mutation.file,
        "result": "caught" if status == _FAILED else "survived",
        "by": failed[0].rpartition("::")[2] if failed else "",
    }


if __name__ == "__main__":
    main()

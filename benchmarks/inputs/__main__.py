"""Run and judge all kinds of other people's input: `python -m benchmarks.inputs [--only KIND …] [--lanes N]`.

A member is right if every command succeeds and the release serves what was evaluated (see `judge`), or if it is refused
(exit status 2, no traceback) where its kind calls a refusal right. It is silent if it was promoted and the release
serves something else. Claims: `kinds`; `right`, the kinds whose members are all right; `silent`, the silent members.
"""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from benchmarks.harness import arguments, finish, machine, progress
from benchmarks.inputs import feast, gates, init, serving, stores, tables
from benchmarks.inputs.kinds import Kind, Member
from benchmarks.inputs.outcome import Outcome, Status, outcome
from benchmarks.inputs.warm import Lane

KINDS: tuple[Kind, ...] = tuple(
    kind for module in (stores, feast, tables, init, gates, serving) for kind in module.KINDS
)
QUICK = {("half floats", "in books"), ("features named like columns of the product", "feature event_time of the items")}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="KIND", help="Run the kinds whose names contain one of these texts."
    )
    parser.add_argument("--lanes", type=int, default=2, metavar="N", help="Members that run at a time. Default: 2.")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="Write the members' folders to DIR and keep them.")
    args = parser.parse_args()
    members = selected(args.only, quick=args.quick)
    if not members:
        sys.exit(f"--only {' '.join(args.only)!r} matches no kind. Kinds: {', '.join(kind.name for kind in KINDS)}.")
    machine_info = machine()
    with tempfile.TemporaryDirectory(prefix="benchmark-inputs-") as temporary:
        rows = measure(members, (args.keep or Path(temporary)).resolve(), args.lanes)
    finish(rows, claims(rows), machine_info | {"load_after": round(os.getloadavg()[0], 2)}, args.json)


def selected(only: Sequence[str], *, quick: bool) -> list[tuple[Kind, Member]]:
    """Return the members to run, with their kinds."""
    members = [(kind, member) for kind in KINDS for member in kind.members if any(one in kind.name for one in only)]
    return [one for one in members if (one[0].name, one[1].name) in QUICK] if quick else members


def measure(members: Sequence[tuple[Kind, Member]], folder: Path, lanes: int) -> list[dict[str, Any]]:
    """Run members in a few lanes, and return one row per member."""
    free: SimpleQueue[Lane] = SimpleQueue()
    folder.mkdir(parents=True, exist_ok=True)
    started = [Lane(folder / f"lane-{number}.log") for number in range(min(lanes, len(members)))]
    for lane in started:
        free.put(lane)

    def run(number: int) -> dict[str, Any]:
        kind, member = members[number]
        own, lane, began = folder / f"member-{number}", free.get(), time.monotonic()
        try:
            result = outcome(member, own, lane)
        finally:
            free.put(lane)
        row = _row(kind, member, result, time.monotonic() - began)
        progress("  ".join(str(row[name]) for name in ("kind", "member", "status", "right", "reason")))
        return row

    try:
        with ThreadPoolExecutor(len(started)) as pool:
            return list(pool.map(run, range(len(members))))
    finally:
        for lane in started:
            lane.close()


def _row(kind: Kind, member: Member, result: Outcome, seconds: float) -> dict[str, Any]:
    return {
        "kind": kind.name,
        "member": member.name,
        "status": str(result.status),
        "right": result.right,
        "seconds": round(seconds, 1),
        "reason": result.reason,
    }


def claims(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Count kinds, kinds whose members are all right, and members that are served differently."""
    kinds = {row["kind"] for row in rows}
    wrong = {row["kind"] for row in rows if not row["right"]}
    return {
        "kinds": len(kinds),
        "right": len(kinds - wrong),
        "silent": sum(row["status"] == Status.SILENT for row in rows),
        "members": len(rows),
        "members_right": sum(row["right"] for row in rows),
    }


if __name__ == "__main__":
    main()

"""Run one member, and judge what happened."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from benchmarks.inputs.kinds import Member
from benchmarks.inputs.warm import Lane

REASON = 200  # characters of a reason
TRACEBACK = "Traceback (most recent call last)"


class Status(StrEnum):
    """What became of a member.

    SERVED: promoted, and served as evaluated. SILENT: promoted, and served differently. WRONG: served as evaluated, but
    a check of the member fails. REFUSED: exit status 2. HELD: exit status 3. FAULT: another status, or a traceback.
    """

    SERVED = "served"
    SILENT = "silent"
    WRONG = "wrong"
    REFUSED = "refused"
    HELD = "held"
    FAULT = "fault"


@dataclass(frozen=True)
class Outcome:
    """The status of a member, whether its kind calls that right, and the reason in a few words."""

    status: Status
    right: bool
    reason: str = ""


def outcome(member: Member, folder: Path, lane: Lane) -> Outcome:
    """Write the input to a new folder, run the steps up to the first that fails, and judge the result."""
    folder.mkdir(parents=True)
    member.write(folder)
    for number, step in enumerate(member.steps):
        if not isinstance(step, str):
            step(folder)
            continue
        log = folder / f"{number}.log"
        code = lane.run(step.split(), folder, log, member.environment)
        text = log.read_text()
        if code or TRACEBACK in text:
            return _failed(member, code, text)
    log = folder / "judge.log"
    if lane.judge(folder, log, member.environment):
        text = log.read_text()
        if TRACEBACK in text:
            return Outcome(Status.FAULT, right=False, reason=_short(text.rstrip()[-REASON:]))
        return Outcome(Status.SILENT, right=False, reason=_short(text))
    if faults := member.check(folder):
        return Outcome(Status.WRONG, right=False, reason=_short(faults[0]))
    return Outcome(Status.SERVED, right=member.served, reason="" if member.served else "a refusal is right")


def _failed(member: Member, status: int, text: str) -> Outcome:
    expected = {2: (Status.REFUSED, "error: ", member.refusal), 3: (Status.HELD, "held: ", member.held)}
    if status not in expected or TRACEBACK in text:
        return Outcome(Status.FAULT, right=False, reason=_short(text.rstrip()[-REASON:]))
    name, mark, words = expected[status]
    message = text[max(0, text.rfind(mark)) :]
    return Outcome(name, right=words is not None and bool(re.search(words, message)), reason=_short(message))


def _short(text: str) -> str:
    return " ".join(text.split())[:REASON]

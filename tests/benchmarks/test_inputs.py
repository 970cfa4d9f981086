"""The benchmark of other people's input: its judgement, and its quick form."""

import contextlib
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from feast import FeatureStore

from benchmarks.inputs import world
from benchmarks.inputs.__main__ import KINDS, QUICK, claims
from benchmarks.inputs.judge import differences, same
from benchmarks.inputs.kinds import Member
from benchmarks.inputs.outcome import Status, outcome
from benchmarks.processes import ROOT


class StubLane:
    """Writes the same output for each command and returns the same status."""

    def __init__(self, text: str, status: int, differs: int = 0) -> None:
        self.text, self.status, self.differs = text, status, differs

    def run(self, arguments, folder, log, environment):
        log.write_text(self.text)
        return self.status

    def judge(self, folder, log, environment):
        log.write_text("age differs")
        return self.differs


@pytest.mark.parametrize(
    ("text", "status", "differs", "expected", "right"),
    [
        ("promoted", 0, 0, Status.SERVED, True),
        ("promoted", 0, 1, Status.SILENT, False),
        ("error: column 'age' is empty", 2, 0, Status.REFUSED, True),
        ("error: something is wrong", 2, 0, Status.REFUSED, False),  # does not name the column
        ("Traceback (most recent call last)\nerror: 'age'", 2, 0, Status.FAULT, False),
        ("held: the data gate\n 'age'", 3, 0, Status.HELD, False),
        ("error: 'age'", 1, 0, Status.FAULT, False),
    ],
)
def test_a_member_is_judged(tmp_path: Path, text, status, differs, expected, right):
    member = Member("ages", lambda folder: None, refusal="'age'")
    result = outcome(member, tmp_path / "member", StubLane(text, status, differs))
    assert (result.status, result.right) == (expected, right)


def test_a_served_release_may_still_be_wrong(tmp_path: Path):
    lane = StubLane("promoted", 0)
    refused = outcome(Member("a", lambda folder: None, served=False), tmp_path / "a", lane)
    faulty = outcome(Member("b", lambda folder: None, check=lambda folder: ["x is a feature"]), tmp_path / "b", lane)
    assert (refused.right, faulty.status, faulty.right, faulty.reason) == (False, Status.WRONG, False, "x is a feature")


def test_a_kind_is_right_if_all_its_members_are():
    rows = [
        {"kind": kind, "member": "m", "status": status, "right": status == "served"}
        for kind, status in (("a", "served"), ("a", "silent"), ("b", "served"))
    ]
    assert claims(rows) == {"kinds": 2, "right": 1, "silent": 1, "members": 3, "members_right": 2}


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (1234567, 1234568, False),
        (1, True, False),
        (7, "7", False),
        (0.1, float(np.float32(0.1)), True),
        (float("nan"), None, True),
        (["a", "b"], ["b", "a"], False),
        ([], None, True),
        (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, 0, 0, 0, 500, tzinfo=UTC), True),
        (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, 0, 0, 1, tzinfo=UTC), False),
    ],
)
def test_values_are_compared_by_type(a, b, equal):
    assert same(a, b) is equal and same(b, a) is equal


def test_each_member_has_a_name_of_its_own_and_writes_its_input(tmp_path: Path):
    members = [(kind, member) for kind in KINDS for member in kind.members]
    names = [(kind.name, member.name) for kind, member in members]
    assert len(set(names)) == len(names) and set(names) >= QUICK
    for number, (_, member) in enumerate(members[::5]):  # all of them take a minute
        folder = tmp_path / str(number)
        folder.mkdir()
        member.write(folder)
        assert any(folder.iterdir())


@pytest.mark.slow
def test_the_quick_form_and_a_store_that_lost_a_value(tmp_path: Path):
    file, kept = tmp_path / "out.json", tmp_path / "members"
    command = [sys.executable, "-m", "benchmarks.inputs", "--quick", "--lanes", "1"]
    command += ["--json", str(file), "--keep", str(kept)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    output = json.loads(file.read_text())
    assert output["claims"] == {"kinds": 2, "right": 2, "silent": 0, "members": 2, "members_right": 2}
    served = next(n for n, row in enumerate(output["rows"]) if row["status"] == "served")
    folder = kept / f"member-{served}"
    repo, releases = folder / "repo", folder / "out" / "releases"
    assert list(differences(repo, releases)) == []
    row = world.plain_readers().head(1).assign(age=99)
    with contextlib.chdir(repo):
        store = FeatureStore(".")
        view = next(view for view in store.list_feature_views() if "age" in {f.name for f in view.features})
        row[view.batch_source.timestamp_field] = datetime.now(UTC)
        store.write_to_online_store(view.name, row)
    assert any(sentence.startswith("age of user 'r000' is 99 online") for sentence in differences(repo, releases))

"""`two-tower init`: the delimiter of text files, the JSON document, and the refresh of a repository."""

import json
from pathlib import Path

import pytest

from tests.pipelines.cli.running import two_tower


def clicks(folder: Path, delimiter: str, rows: int = 200) -> Path:
    """A table of interactions; one column has commas, so that the delimiter cannot be detected."""
    header = delimiter.join(("user_id", "item_id", "clicked_at", "place"))
    lines = [
        delimiter.join((f"u{n % 7}", f"i{n % 11}", f"2026-01-{n % 28 + 1:02d} 10:00:00", f"a,b;{n % 3}|c"))
        for n in range(rows)
    ]
    path = folder / "clicks.txt"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


@pytest.mark.parametrize(("option", "delimiter"), [("¦", "¦"), (r"\t", "\t"), ("tab", "\t")])
def test_a_given_delimiter_is_used_and_kept_for_the_refresh(tmp_path: Path, option: str, delimiter: str) -> None:
    file, repo = clicks(tmp_path, delimiter), str(tmp_path / "repo")
    created = two_tower("init", repo, "--interactions", str(file), "--delimiter", option, "--json")
    assert created.exit_code == 0, created.stderr
    document = json.loads(created.stdout)
    assert document["refreshed"] is False and document["rows"] == {"users": 7, "items": 11, "interactions": 200}
    assert document["plan"]["delimiter"] == delimiter
    refreshed = two_tower("init", repo, "--json", "--quiet")
    assert json.loads(refreshed.stdout) == document | {"refreshed": True}, refreshed.stderr
    assert refreshed.stderr == ""


@pytest.mark.parametrize(
    ("delimiter", "text"),
    [
        ("", "--delimiter '' is not allowed"),
        ('"', "is not allowed"),
        ("@", "clicks.txt: the first line does not contain the delimiter '@'"),
    ],
)
def test_a_wrong_delimiter_is_refused(tmp_path: Path, delimiter: str, text: str) -> None:
    call = ["init", str(tmp_path / "repo"), "--interactions", str(clicks(tmp_path, "~")), "--delimiter", delimiter]
    result = two_tower(*call)
    assert result.exit_code == 2 and text in result.stderr
    assert not (tmp_path / "repo").exists()


def test_a_repository_keeps_its_columns(tmp_path: Path) -> None:
    file, repo = clicks(tmp_path, "~"), str(tmp_path / "repo")
    assert two_tower("init", repo, "--interactions", str(file), "--delimiter", "~", "--quiet").output == ""
    result = two_tower("init", repo, "--weight", "place")
    assert result.exit_code == 2 and "is already a repository, and --weight would change its columns" in result.stderr


def test_the_printed_numbers_of_rows_add_up(tmp_path: Path) -> None:
    file, people = clicks(tmp_path, "~"), tmp_path / "people.csv"
    file.write_text(file.read_text() + "~i1~2026-01-05 10:00:00~x\n")
    people.write_text(
        "user_id,age,total_orders\n" + "".join(f"u{n},{20 + n},{n}.5\n" for n in range(5)) + "u1,30,2.5\n,9,1.5\n"
    )
    call = ["init", str(tmp_path / "repo"), "--interactions", str(file), "--users", str(people)]
    file.write_text(file.read_text().replace(",", " ").replace(";", " ").replace("|", " ").replace("~", ","))
    text = two_tower(*call).output
    for line in (
        "users: people.csv, 5 of 7 rows",
        "interactions: clicks.txt, 200 of 201 rows",
        "dropped 1 interactions without a user",
        "dropped 1 duplicate users (the last row counts)",
        "dropped 1 users without a key",
        "added 2 users of the interactions that are not in their table: no other columns",
        "warning total_orders: may summarise later events; the leak gate checks it",
    ):
        assert line in text

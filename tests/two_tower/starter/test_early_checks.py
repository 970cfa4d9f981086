"""Errors that the first rows of a file tell, before the whole file is read."""

from pathlib import Path

import pytest

from two_tower.errors import InputError
from two_tower.starter import files
from two_tower.starter.decide import Options, decide

ROWS = "customer,sku,at\n" + "a,1,2024-01-01\n" * 50_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ignore": ("nope",)}, "unknown column for --ignore 'nope'"),
        ({"timestamp": "nope"}, "unknown column of t.csv for --timestamp 'nope'"),
        ({"weight": "nope"}, "unknown column of t.csv for --weight 'nope'"),
        ({"user_key": "nope"}, "unknown column for --user-key 'nope'"),
        ({"where": "nope > 1"}, r"--where 'nope > 1' is not a valid SQL condition: Binder Error"),
        ({"where": "sku >"}, "is not a valid SQL condition"),
        ({"interaction_columns": ["a", "b", "c", "d"]}, "has 3 columns; there are 4 names"),
        ({"interaction_columns": ["who"]}, "cannot infer the column of the user id from the names of who, sku, at"),
        ({"users": Path("/no/such/file")}, "does not exist"),
    ],
)
def test_an_error_before_the_whole_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, message: str
) -> None:
    (tmp_path / "t.csv").write_text(ROWS)
    rows = []
    read = files.read

    def counted(*args: object, **kwargs: object) -> object:
        source = read(*args, **kwargs)  # type: ignore[arg-type]
        rows.append(source.table.num_rows)
        return source

    monkeypatch.setattr(files, "read", counted)
    with pytest.raises(InputError, match=message):
        decide(Options(interactions=tmp_path / "t.csv", **options))
    assert max(rows, default=0) < 50_000


def test_a_valid_condition_passes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("customer,sku,at\na,1,2024-01-01\nb,2,2024-01-02\n")
    plan, _ = decide(Options(interactions=tmp_path / "t.csv", where="sku > 0 and \"at\" > '2023-12-31'"))
    assert plan.user_key == "customer"

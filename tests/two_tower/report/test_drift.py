import pytest

from two_tower.gates import Verdict
from two_tower.report.drift import HARDLY, LEAST, MOST, drift_table


def verdict(psi: list[float], gate: str = "data") -> Verdict:
    drift = [{"table": "user", "feature": f"f{n}", "psi": p, "limit": 0.25, "holds": True} for n, p in enumerate(psi)]
    return Verdict(gate=gate, passed=True, details={"drift": drift, "compared_with": "2026-01-02T10:00:00+00:00"})


def test_bars_and_limits_are_in_per_cent_of_the_longest_bar():
    table = drift_table([Verdict(gate="parity", passed=True), verdict([0.5, 0.1])])
    assert table is not None and table.since == "2026-01-02 10:00"
    assert [row["at"] for row in table.rows] == pytest.approx([100 / 1.15, 20 / 1.15])
    assert [row["limit_at"] for row in table.rows] == pytest.approx([50 / 1.15] * 2)
    assert {row["of"] for row in table.rows} == {"users with interactions"}
    assert (table.others, table.least) == (0, 0.0)


@pytest.mark.parametrize(
    ("psi", "rows"),
    [([0.3] * 30, MOST), ([HARDLY] * 7 + [0.0] * 3, 7), ([0.3] + [0.0] * 9, LEAST), ([0.3] * 3, 3)],
    ids=["most", "hardly-any-drift", "least", "few"],
)
def test_features_with_little_drift_are_only_counted(psi, rows):
    table = drift_table([verdict(psi)])
    assert table is not None and (len(table.rows), table.others) == (rows, len(psi) - rows)
    assert table.least == (psi[rows] if rows < len(psi) else 0.0)


def test_without_a_comparison_there_is_no_table():
    assert drift_table([Verdict(gate="data", passed=True), verdict([0.5], gate="promotion")]) is None

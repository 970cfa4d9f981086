import re
from html.parser import HTMLParser

import pytest

from two_tower.evaluation.evaluate import BANDS, CURVE_AT, Report
from two_tower.gates import Verdict
from two_tower.report import RunReport, with_run
from two_tower.report import write as write_report


def model(recall: float) -> dict[str, float]:
    return {
        "recall@20": recall,
        "recall@20_low": recall - 0.01,
        "recall@20_high": recall + 0.01,
        "recall@100": 2 * recall,
        "ndcg@20": recall / 2,
        "mrr@20": recall / 3,
        "coverage@20": 0.5,
    }


def part(events: int, value: float | None) -> dict:
    return {"events": events, "users": events, "recall@20": {"two_tower": value, "popularity": value}}


EVALUATION = Report(
    metrics={"two_tower": model(0.3141), "popularity": model(0.1234)},
    slices={"cold_users": part(12, 0.0777), "cold_items": part(0, None), "tail_items": part(30, 0.0555)},
    counts={"events": 12_345, "users": 678, "items": 999, "left_out": 17, "not_in_index": 23},
    events="0",
    per_user={},
    curve={"two_tower": [0.1] * len(CURVE_AT), "popularity": [0.05] * len(CURVE_AT)},
    exposure={name: [0.1] * BANDS for name in ("two_tower", "popularity", "test_events")},
)
PASSED = Verdict(gate="data", passed=True)
HELD = Verdict(gate="promotion", passed=False, reasons=("recall@20 is 0.1 < 0.2 & so on",))
HISTORY = [{"epoch": n, "loss": 5 - n / 2, "recall@20": r} for n, r in enumerate((0.1, 0.3, 0.25), start=1)]


class Tags(HTMLParser):
    """Checks that each tag that opens closes."""

    VOID = frozenset({"meta", "br", "circle", "path", "polyline", "input"})

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, _attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, _attrs):
        assert tag in self.VOID


ITEMS = {
    "id": ["a", "b</script>"],
    "x": [-1.0, 1.0],
    "y": [0.0, 0.5],
    "near": [[1], [0]],
    "columns": {"kind": ["tea", None]},
    "explained": 0.8,
    "of": 2,
}
STEPS = [
    {"name": "pull", "seconds": 1.25, "cached": False, "cpu_seconds": 2.5, "peak_memory_mb": 300.0},
    {"name": "train", "seconds": 60, "cached": False, "cpu_seconds": 100.0, "peak_memory_mb": 900.0},
    {"name": "index", "seconds": 0, "cached": True, "cpu_seconds": 0.0, "peak_memory_mb": 0.0},
]


@pytest.fixture
def write(tmp_path):
    def render(release=None, **changes) -> str:
        whole = {
            "title": "Run of <sample>",
            "verdicts": [PASSED, HELD],
            "evaluation": EVALUATION,
            "history": HISTORY,
            "items": ITEMS,
        }
        write_report(tmp_path / "report.html", RunReport(**(whole | changes)))
        page = with_run((tmp_path / "report.html").read_text(), STEPS, release)
        tags = Tags()
        tags.feed(page)
        assert not tags.open
        return page

    return render


def test_the_page_shows_the_metrics(write):
    page = write()
    for figure in ("0.3141", "0.3041–0.3241", "0.1234", "0.6282", "0.0777", "12,345", "678", "17", "23"):
        assert figure in page, figure
    assert "epoch 2, with a validation recall@20 of 0.3000" in page
    assert page.count("<figcaption>") == 5


def test_gates_come_first_and_give_their_reasons(write):
    page = write()
    assert page.index("✗ promotion") < page.index("Quality on the test window")
    assert "✓ data</b> passed" in page
    assert "held: recall@20 is 0.1 &lt; 0.2 &amp; so on" in page


def test_the_heading_is_the_folder_of_the_repository_and_its_address_follows(write):
    page = write(title="s3://shop/repositories/films/")
    assert "<h1>films</h1>" in page and '<p class="where">s3://shop/repositories/films/</p>' in page
    assert 'class="where"' not in write(title="movielens-100k")


def test_the_outcome_comes_first(write):
    assert "Held by the promotion gate." in write()
    assert "All gates passed." in write(verdicts=[PASSED])


def test_the_steps_and_the_release_are_added_after_the_run(write):
    page = write(release="r-<1>", verdicts=[PASSED])
    assert "Promoted as release <code>r-&lt;1&gt;</code>" in page
    assert "61.2" in page and "102.5" in page and "900 MB" in page
    assert "<td>index</td><td>reused</td>" in page


def test_a_step_has_a_cost_where_an_hour_has_a_price(write, tmp_path):
    assert "<th>cost</th>" not in write()
    priced = [step | {"cost": step["seconds"] / 3600 * 18} for step in STEPS]
    page = with_run((tmp_path / "report.html").read_text(), priced, None)
    assert "<td>0.3000</td>" in page and "<td>0.3062</td>" in page, "a minute's, and that of all steps"
    assert page.count("0.0000") == 0, "a reused step has no cost"


def test_drift_shows_each_feature_with_its_limit(write):
    far = {"table": "user", "feature": "country", "psi": 0.5, "limit": 0.25, "holds": True}
    near = [far | {"feature": f"f{n}", "psi": 0.01, "limit": 0.5} for n in range(20)]
    warned = far | {"table": "catalogue", "feature": "price", "psi": 0.3, "holds": False}
    details = {"drift": [far, warned, *near], "compared_with": "2026-01-02T10:00:00+00:00"}
    page = write(verdicts=[Verdict(gate="data", passed=True, details=details)])
    assert "which end at 2026-01-02 10:00" in page
    pattern = r"<tr><td>(\w+)<br><small>([^<]+)</small></td><td>([\d.]+)</td><td>[\d.]+</td><td>(\w+)</td>"
    rows = re.findall(pattern, page)
    assert rows[:3] == [
        ("country", "users with interactions", "0.500", "held"),
        ("price", "catalogue", "0.300", "warning"),
        ("f0", "users with interactions", "0.010", "within"),
    ]
    assert len(rows) == 15 and "7 other features have a PSI of at most 0.010" in page
    bar, limit = map(float, re.search(r'<div><i style="width:([\d.]+)%"></i><b style="left:([\d.]+)%', page).groups())
    assert bar == pytest.approx(2 * limit, abs=0.2) and bar < 100
    still = {
        "drift": [far | {"feature": f"f{n}", "psi": 0.0} for n in range(6)],
        "compared_with": details["compared_with"],
    }
    page = write(verdicts=[Verdict(gate="data", passed=True, details=still)])
    assert len(re.findall(pattern, page)) == 5 and "1 other feature has a PSI of at most 0.000" in page


def test_a_first_run_has_nothing_to_compare_with(write):
    page = write()
    assert "There is no current release" in page and "Drift of the features" not in page
    assert "There is no current release" not in write(since="r-0", changes=[])


def test_text_is_escaped(write):
    page = write()
    assert "Run of &lt;sample&gt;" in page
    assert "b\\u003c/script>" in page, "no value of an item ends the script that holds it"


def test_the_page_is_self_contained(write):
    page = write(release="r-1")
    assert not re.search(r"https?:|@import|url\(|src=|<link", page)


def test_the_page_follows_the_colour_scheme_and_the_width_of_a_phone(write):
    page = write()
    assert "prefers-color-scheme: dark" in page
    assert "width=device-width" in page


def test_a_slice_without_events_shows_no_figure(write):
    row = re.search(r"<tr><td>Cold items.*?</tr>", write()).group()
    assert row.endswith("<td>0</td><td>0</td><td>–</td><td>–</td></tr>")


def test_a_run_that_a_gate_stopped_has_a_report_too(write):
    page = write(evaluation=None, history=[], items=None, verdicts=[HELD])
    assert "Held by the promotion gate." in page
    assert "Quality" not in page and "<svg" not in page and "<script" not in page


@pytest.mark.parametrize("history", [HISTORY[:1], [{**HISTORY[0], "recall@20": 0.1}] * 3])
def test_a_single_epoch_and_a_flat_curve_can_be_drawn(write, history):
    assert "nan" not in write(history=history).split("<script>")[0]


def test_a_warning_of_a_gate_that_passed_is_shown(write):
    small = Verdict(gate="promotion", passed=True, details={"warning": "only 3 users"})
    assert "passed: only 3 users" in write(verdicts=[small], release="r-1")


def test_the_details_of_a_gate_can_be_opened(write):
    parity = Verdict(gate="parity", passed=True, details={"max_difference": {"user": 1.25e-7}, "batches": [1, 7]})
    leaks = Verdict(gate="leaks", passed=True, details={"features": [{"view": "a"}, {"view": "b"}]})
    assert "<dt>features</dt><dd>2 entries</dd>" in write(verdicts=[leaks])
    page = write(verdicts=[parity])
    assert "<dt>max difference</dt><dd>user 1.25e-07</dd><dt>batches</dt><dd>1, 7</dd>" in page


def test_changes_are_a_table(write):
    page = write(since="r-0", changes=[("recall@20", "0.3", "0.4")])
    assert "Changes since release <code>r-0</code>" in page
    assert "<td>recall@20</td><td>0.3</td><td>0.4</td>" in page


def test_the_smoke_test_has_a_table(tmp_path) -> None:
    write_report(tmp_path / "report.html", RunReport(title="shop", verdicts=[PASSED]))
    questions = [{"kind": "features online", "asked": 7, "right": 5, "differ": 2}]
    page = with_run((tmp_path / "report.html").read_text(), STEPS, None, questions=questions)
    assert "<td>features online</td><td>7</td><td>5</td><td>2</td>" in page
    assert "Smoke test" not in with_run((tmp_path / "report.html").read_text(), STEPS, None)

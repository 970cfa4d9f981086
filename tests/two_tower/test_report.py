import re
from html.parser import HTMLParser

import pytest

from two_tower.evaluate import Report
from two_tower.gates import Verdict
from two_tower.report import write_report


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
)
PASSED = Verdict(gate="data", passed=True)
HELD = Verdict(gate="promotion", passed=False, reasons=("recall@20 is 0.1 < 0.2 & so on",))
HISTORY = [{"epoch": n, "loss": 5 - n / 2, "recall@20": r} for n, r in enumerate((0.1, 0.3, 0.25), start=1)]


class Tags(HTMLParser):
    """Checks that what is opened is closed."""

    VOID = frozenset({"meta", "br", "rect", "line", "path", "polyline", "circle"})

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, _attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture
def write(tmp_path):
    def written(**changes) -> str:
        whole = {
            "title": "Run of <sample>",
            "verdicts": [PASSED, HELD],
            "evaluation": EVALUATION,
            "history": HISTORY,
            "steps": [{"name": "pull", "seconds": 1.25}, {"name": "train", "seconds": 60}],
            "release": None,
        }
        write_report(tmp_path / "report.html", **(whole | changes))
        page = (tmp_path / "report.html").read_text()
        tags = Tags()
        tags.feed(page)
        assert not tags.open
        return page

    return written


def test_it_says_what_was_measured(write):
    page = write()
    for figure in ("0.3141", "0.3041–0.3241", "0.1234", "0.6282", "0.0777", "12,345", "678", "17", "23", "61.2"):
        assert figure in page, figure
    assert "epoch 2, with a validation recall@20 of 0.3000" in page
    assert page.count('<svg class="curve"') == 2


def test_gates_come_first_and_give_their_reasons(write):
    page = write()
    assert page.index("✗ promotion") < page.index("Quality on the test window")
    assert "✓ data</b> passed" in page
    assert "held back: recall@20 is 0.1 &lt; 0.2 &amp; so on" in page


def test_the_outcome_is_said_first(write):
    assert "Promoted as release <code>r-1</code>" in write(release="r-1", verdicts=[PASSED])
    assert "Every gate passed." in write(verdicts=[PASSED])


def test_text_is_escaped(write):
    assert "Run of &lt;sample&gt;" in write()
    assert "<script>" not in write(release="<script>")


def test_it_needs_nothing_from_outside(write):
    page = write(release="r-1")
    assert not re.search(r"https?:|//|@import|url\(|src=|<link|<script", page)


def test_it_follows_the_systems_colours_and_the_width_of_a_phone(write):
    page = write()
    assert "prefers-color-scheme: dark" in page
    assert "width=device-width" in page


def test_a_slice_without_events_shows_no_figure(write):
    row = re.search(r"<tr><td>Cold items.*?</tr>", write()).group()
    assert row.endswith("<td>0</td><td>0</td><td>–</td><td>–</td></tr>")


def test_a_run_that_a_gate_stopped_has_a_report_too(write):
    page = write(evaluation=None, history=[], steps=None, verdicts=[HELD])
    assert "Held back by the promotion gate." in page
    assert "Quality" not in page and "<svg" not in page


@pytest.mark.parametrize("history", [HISTORY[:1], [{**HISTORY[0], "recall@20": 0.1}] * 3])
def test_a_single_epoch_and_a_flat_curve_can_be_drawn(write, history):
    assert "nan" not in write(history=history)


def test_a_warning_of_a_gate_that_passed_is_shown(write):
    small = Verdict(gate="promotion", passed=True, details={"warning": "only 3 users"})
    assert "passed: only 3 users" in write(verdicts=[small], release="r-1")

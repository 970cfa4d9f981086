"""The report in a real browser: a map of ten thousand items that responds at once."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tests.serving.browser import opened
from two_tower.gates import Verdict
from two_tower.report import RunReport, items_map, with_run, write

pytestmark = pytest.mark.slow

ITEMS = items_map.MOST_ITEMS
MOST_MS = 200


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 9, ITEMS)
    embeddings = np.eye(9, dtype=np.float32)[groups] + rng.normal(0, 0.1, (ITEMS, 9)).astype(np.float32)
    plane, explained = items_map.project(embeddings)
    items = {
        "id": [f"item-{n}" for n in range(ITEMS)],
        "x": plane[:, 0].tolist(),
        "y": plane[:, 1].tolist(),
        "near": items_map.neighbours(embeddings).tolist(),
        "columns": {"group": [f"group {g}" for g in groups], "price": rng.random(ITEMS).round(3).tolist()},
        "explained": explained,
        "of": ITEMS,
    }
    write(folder / "report.html", RunReport(title="shop", verdicts=[Verdict(gate="data", passed=True)], items=items))
    whole = with_run((folder / "report.html").read_text(), [], None)
    (folder / "report.html").write_text(whole.replace("<head>", '<head><link rel="icon" href="data:,">'))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/report.html"
        server.shutdown()


def test_an_item_is_found_and_its_neighbours_followed(url):
    with opened(url) as page:
        page.get_by_label("Find").fill("item-4242")
        assert page.locator("#results").inner_text().startswith("1 found")
        page.get_by_role("button", name="item-4242").click()
        assert "group: group" in page.locator("#results").inner_text()
        assert page.locator("#results button").count() == items_map.NEIGHBOURS
        page.locator("#results button").first.click()
        assert "item-4242" not in page.locator("#results b").inner_text()


def test_colours_have_a_legend_for_categories_and_for_numbers(url):
    with opened(url, color_scheme="dark", viewport={"width": 390, "height": 800}) as page:
        assert page.get_by_label("Colour by").input_value() == "group"
        assert "2 others" in page.locator("#legend").inner_text()
        page.get_by_label("Colour by").select_option("price")
        assert page.locator("#legend").inner_text().count("up to") == 4
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_it_answers_at_once_on_ten_thousand_items(url):
    with opened(url) as page:
        took = page.evaluate(
            """() => {
              const find = document.getElementById("find"), times = [];
              for (const query of ["item-1", "group 3", "item-99", ""]) {
                const began = performance.now();
                find.value = query;
                find.dispatchEvent(new Event("input"));
                times.push(performance.now() - began);
              }
              return times.sort((a, b) => a - b)[1];
            }"""
        )
        assert took < MOST_MS

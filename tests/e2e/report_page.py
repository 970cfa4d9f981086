"""A look at a run's report as a person has it: by day and by night, on a desk and on a phone, by the keyboard."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.serving.browser import opened

PHONE, DESK = 380, 1200
# Texts of charts whose boxes overlap, of one chart each: what a reader could not tell apart.
OVERLAPPING = """() => [...document.querySelectorAll("figure svg")].flatMap(svg => {
  const texts = [...svg.querySelectorAll("text")].map(one => [one.textContent, one.getBoundingClientRect()]);
  return texts.flatMap(([said, a], i) => texts.slice(i + 1)
    .filter(([, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2
      && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4)
    .map(([other]) => `${said} | ${other}`));
})"""
OUTSIDE = """() => [...document.querySelectorAll("figure svg")].flatMap(svg => {
  const box = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].filter(one => {
    const own = one.getBoundingClientRect();
    return own.left < box.left - 1 || own.right > box.right + 1;
  }).map(one => one.textContent);
})"""

DARK = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(one => one < 60)"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _served(report: Path) -> Iterator[str]:
    """The address of the report; a browser asks for an icon of its own accord, and is given none."""
    folder = report.parent / "shown"
    folder.mkdir(exist_ok=True)
    (folder / "report.html").write_text(report.read_text().replace("<head>", '<head><link rel="icon" href="data:,">'))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/report.html"
        server.shutdown()


def look(report: Path) -> None:
    """Raises AssertionError where something is cut off, overlaps, cannot be reached, or asks another host."""
    with _served(report) as url:
        for scheme, width in (("light", DESK), ("dark", DESK), ("light", PHONE), ("dark", PHONE)):
            with opened(url, color_scheme=scheme, viewport={"width": width, "height": 800}) as page:
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                assert page.evaluate(OVERLAPPING) == [], (scheme, width)
                assert page.evaluate(OUTSIDE) == [], (scheme, width)
                dark = page.evaluate(
                    "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(c => c < 60)"
                )
                assert dark is (scheme == "dark")
        with opened(url) as page:
            _by_keyboard(page)


def _by_keyboard(page) -> None:
    """Unfold what a gate measured, search the map, and follow a neighbour, without a pointer."""
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("Enter")
    assert page.locator("details").first.evaluate("one => one.open")
    page.get_by_label("Find").focus()
    first = page.evaluate("JSON.parse(document.getElementById('items').textContent).id[0]")
    page.keyboard.type(first)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    results = page.locator("#results")
    assert results.locator("button").count() == 5, results.inner_text()
    assert page.evaluate("document.activeElement.tagName") in ("BUTTON", "BODY")
    assert page.get_by_label("Colour by").locator("option").count() >= 1
    assert page.locator("#legend").inner_text().strip()

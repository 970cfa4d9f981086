"""Use the page of a service with the releases of a real run, as a user would."""

from pathlib import Path

from tests.serving.browser import opened
from tests.serving.running import service

# True if every displayed item has the value as a chip.
SHOW = "value => [...document.querySelectorAll('#items .chips')].every(one => one.textContent.includes(value))"


def walk(releases: Path) -> list[str]:
    """Open the first user, show reasons, filter, find similar items; returns the names of the recommended items."""
    with service(releases) as (_, port, _):
        url = f"http://127.0.0.1:{port}/"
        for scheme in ("light", "dark"):
            _on_a_phone(url, scheme)
        return _at_a_desk(url)


def _on_a_phone(url: str, scheme: str) -> None:
    with opened(url, color_scheme=scheme, viewport={"width": 380, "height": 800}) as page:
        page.wait_for_selector("#items > li .name")
        page.locator("#items [aria-label^=Why]").first.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 380
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(one => one < 60)")
        assert dark is (scheme == "dark")


def _at_a_desk(url: str) -> list[str]:
    with opened(url) as page:
        page.wait_for_selector("#items > li .name")
        for _ in range(8):  # on a busy machine the store can be slower than the timeout of a request
            if page.locator("#history > li .name").count() and page.locator("#notice").is_hidden():
                break
            page.evaluate("document.getElementById('ask').requestSubmit()")
            page.wait_for_timeout(1000)
        names = page.locator("#items > li .name").all_inner_texts()
        assert len(names) == 10 and page.locator("#history > li .name").count()
        page.locator("#items [aria-label^=Why]").first.click()
        page.wait_for_selector(".because li")
        page.locator("#items [aria-label^=Similar]").first.click()
        page.wait_for_selector("#similar-items > li:nth-child(10)")
        page.keyboard.press("Escape")
        label = page.locator("#filter .values label").first
        value = label.locator("span").evaluate("element => element.firstChild.data")
        label.click()
        page.wait_for_function(SHOW, arg=value)
        page.get_by_text("Made-up user").click()
        page.wait_for_function("() => /^[1-9]/.test(document.getElementById('made-up-count').textContent)")
        return names

"""Open a page in headless Chromium."""

import shutil
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def opened(url, **context):
    """Yield the page at `url`; at the end assert that it logged no errors and sent no requests to other hosts.

    context: options of Playwright's new_context, such as color_scheme and viewport.
    """
    from playwright import sync_api

    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed (Debian: apt-get install chromium)")
    messages, hosts = [], set()
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_context(**{"viewport": {"width": 1440, "height": 940}, **context}).new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: messages.append(message.text) if message.type != "verbose" else None)
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        try:
            page.goto(url)
            yield page
        finally:
            browser.close()
    assert hosts - {""} == {urlsplit(url).netloc}
    assert [
        text for text in messages if "Failed to load resource" not in text
    ] == []  # other tests check responses with an error status

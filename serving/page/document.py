"""The demo page as one self-contained HTML document, with headers that forbid anything from other hosts."""

import base64
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

# Joined in this order into one script.
SCRIPTS = ("dom.js", "combobox.js", "state.js", "items.js", "filters.js", "features.js", "similar.js", "main.js")
STYLE, SCRIPT = "<!-- style -->", "<!-- script -->"


class Document(NamedTuple):
    """Body and headers of the page."""

    body: bytes
    headers: Mapping[str, str]


@lru_cache
def document() -> Document:
    """Build the page. Its policy allows its own style and script by their hashes, and calls to this service."""
    folder = resources.files(__package__)
    style = (folder / "page.css").read_text("utf-8")
    script = "".join((folder / name).read_text("utf-8") for name in SCRIPTS)
    html = (folder / "index.html").read_text("utf-8")
    html = html.replace(STYLE, f"<style>{style}</style>").replace(SCRIPT, f"<script>{script}</script>")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }
    return Document(html.encode(), headers)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

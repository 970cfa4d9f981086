"""The page "From Python", run from top to bottom as a notebook would."""

import re
from pathlib import Path

import pytest

from tests.docs.shown import ROOT

PAGE = ROOT / "docs" / "python.md"


@pytest.mark.slow
def test_the_blocks_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, scope)
    metrics = scope["model"].metrics_
    assert metrics["two_tower"]["recall@20"] > 1.5 * metrics["popularity"]["recall@20"]
    newcomer = scope["model"].recommend(scope["newcomer"], k=5)
    assert newcomer["fallback"].isna().all()
    assert (newcomer["film_id"] % 4 == 3).mean() > 0.5, "a history of horror films"
    assert (tmp_path / "films_model" / "current").is_file()

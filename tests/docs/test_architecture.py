"""The pages name files that exist."""

import re

import pytest

from tests.docs.shown import PAGES, ROOT

FILE = re.compile(r"`((?:two_tower|serving|pipelines|components|benchmarks|feature_repo|deploy|tests)/[\w./-]*)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page):
    named = set(FILE.findall(page.read_text()))
    assert not {name for name in named if not (ROOT / name).exists()}


def test_the_table_of_changes_names_a_file_for_each_of_twenty_changes():
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page.split("## Which file to open")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]  # below the head
    assert len(rows) >= 20 and all(FILE.findall(row) for row in rows)


def test_the_map_has_every_folder_of_the_library():
    page = (ROOT / "docs" / "architecture.md").read_text()
    folders = {path.name for path in (ROOT / "two_tower").iterdir() if (path / "__init__.py").is_file()}
    assert not {folder for folder in folders if f"`{folder}/`" not in page}

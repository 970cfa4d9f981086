from dataclasses import fields

import pytest

from pipelines.cli.settings import sections
from two_tower.config.fields import field_types
from two_tower.config.reference import documented, markdown, title

DOCS = documented(sections())


@pytest.mark.parametrize("doc", DOCS, ids=lambda doc: doc.name)
def test_each_setting_is_documented_where_it_is_declared(doc) -> None:
    assert len(doc.description.split()) >= 6 and doc.description.endswith(".")
    assert doc.allowed and "  " not in doc.description


def test_the_reference_holds_every_field_of_every_section_in_order() -> None:
    assert [doc.name for doc in DOCS] == [f.name for section in sections().values() for f in fields(section)]
    assert all(all(title(section)) for section in sections().values())


def test_the_parts_of_an_entry() -> None:
    doc = next(doc for doc in DOCS if doc.name == "canary_percent")
    assert (doc.section, doc.type, doc.default) == ("deploy", "int", 10)
    assert doc.allowed == "whole number, 1 to 100"
    assert doc.summary.startswith("Percentage of the traffic") and doc.summary in doc.description


def test_a_default_reads_as_it_is_typed() -> None:
    for doc in DOCS:
        kind = field_types(type(sections()[doc.section]))[doc.name]
        assert kind.parsed(doc.name, "" if doc.default == "" else doc.default_text) == doc.default


def test_the_page_describes_each_setting() -> None:
    page = markdown(sections())
    assert page.count("\n### `") == len(DOCS)
    assert "### `compile`\n\nAllowed: true or false. Default: `false`.\n\n" in page
    assert max(map(len, page.splitlines())) <= 160

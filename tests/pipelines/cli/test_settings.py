import json

from pipelines.cli.settings import sections
from tests.docs.shown import ROOT
from tests.pipelines.cli.running import two_tower
from two_tower.config.reference import documented, markdown


def run(*arguments: str) -> str:
    result = two_tower("settings", *arguments)
    assert result.exit_code == 0
    return result.stdout


def test_the_page_of_the_documentation_is_fresh() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    assert page == markdown(sections()), "run: two-tower settings --markdown > docs/reference/settings.md"


def test_all_settings_are_listed() -> None:
    shown = run()
    for name, section in sections().items():
        assert all(doc.name in shown for doc in documented({name: section}))


def test_one_setting_is_described_in_full() -> None:
    (doc,) = (doc for doc in documented(sections()) if doc.name == "patience")
    shown = " ".join(run("patience").split())
    assert doc.description in shown and "at least 1. Default: 3." in shown


def test_settings_as_json() -> None:
    described = json.loads(run("--json"))
    assert [one["name"] for one in described] == [doc.name for doc in documented(sections())]
    one = json.loads(run("seed", "--json"))
    assert one in described and one["default"] == 0 and one["section"] == "train"


def test_an_unknown_name_gets_the_nearest() -> None:
    result = two_tower("settings", "epoch")
    assert result.exit_code == 2 and "unknown setting 'epoch'. Did you mean 'epochs'" in result.stderr


def test_the_page_is_of_all_settings() -> None:
    result = two_tower("settings", "epochs", "--markdown")
    assert result.exit_code == 2 and "Leave NAME out" in result.stderr and not result.stdout

from pathlib import Path

import pytest

from tests.two_tower import parts
from two_tower.errors import InputError
from two_tower.releases import release
from two_tower.releases.released import Released, load_release

ITEMS = 40


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    made = parts.write(tmp_path / "parts", items=ITEMS)
    release.activate(tmp_path / "releases", release.publish(tmp_path / "releases", [made], parts.manifest()))
    return tmp_path / "releases"


@pytest.fixture
def opened(releases: Path) -> Released:
    return load_release(releases)


def test_items_come_as_the_tower_and_the_index_say(opened: Released) -> None:
    assert [item for item, _ in opened.recommend({"group": "a"}, k=3)] == list(opened.items[:3])
    assert [item for item, _ in opened.recommend({"group": "b"}, k=3)] == list(opened.items[:-4:-1])
    scores = [score for _, score in opened.recommend({"group": "a"}, k=3)]
    assert scores == pytest.approx([1, 0.99, 0.98])


def test_excluded_items_are_not_returned_even_if_few_are_left(opened: Released) -> None:
    left = [item for item, _ in opened.recommend({"group": "a"}, k=5, exclude=opened.items[:-2])]
    assert left == list(opened.items[-2:])


@pytest.mark.parametrize(
    ("features", "k", "said"),
    [
        ({"grup": "a"}, 1, "Did you mean 'group'"),
        ({"group": 7}, 1, "'group'"),
        ({"group": "a"}, 0, "Allowed: 1 to 40"),
        ({"group": "a"}, ITEMS + 1, "k=41"),
    ],
)
def test_bad_input_is_named(opened: Released, features: dict, k: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        opened.recommend(features, k=k)


def test_without_a_current_release_one_must_be_named(releases: Path) -> None:
    name = release.current(releases)
    (releases / "current").unlink()
    with pytest.raises(release.ReleaseError, match=r"no release of .* is active"):
        load_release(releases)
    assert load_release(releases, name).id == name

import pytest

from pipelines.kubeflow.compiled import Plan
from pipelines.kubeflow.versions import check_version, pipelines_version, version_of
from two_tower.errors import InputError


@pytest.mark.parametrize(
    ("pipeline", "shards", "version"),
    [
        ("training", 1, "2.3.0"),
        ("dataset", 4, "2.3.0"),  # it has no shards
        ("training", 4, "2.16.0"),
        ("refresh_items", 1, "2.17.0"),
        ("training", 4, "unknown"),
        ("training", 4, "master"),
    ],
)
def test_a_version_that_can_run_it_or_is_unknown_passes(pipeline: str, shards: int, version: str) -> None:
    check_version({"tag_name": version}, Plan.of(pipeline, [f"shards={shards}"]))


@pytest.mark.parametrize(
    ("pipeline", "shards", "advice"),
    [("training", 2, "set shards=1, or upgrade"), ("refresh_items", 1, "To run refresh_items, upgrade")],
)
def test_shards_are_refused_before_2_16(pipeline: str, shards: int, advice: str) -> None:
    with pytest.raises(InputError, match=r"2\.15\.2 cannot collect the outputs of shards") as caught:
        check_version({"tag_name": "2.15.2"}, Plan.of(pipeline, [f"shards={shards}"]))
    assert advice in str(caught.value)


def test_the_user_interface_names_the_version_of_the_api_otherwise() -> None:
    assert pipelines_version({"apiServerTagName": "2.15.2", "frontendTagName": "2.16.0"}) == "2.15.2"
    assert pipelines_version({"multi_user": False}) == "unknown"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2.17.0", (2, 17)),
        ("v0.20.0", (0, 20)),
        ("2.17.0-rc.1", (2, 17)),
        ("unknown", None),
        ("latest", None),
        ("", None),
    ],
)
def test_the_numbers_of_a_version(text: str, version: tuple[int, int] | None) -> None:
    assert version_of(text) == version

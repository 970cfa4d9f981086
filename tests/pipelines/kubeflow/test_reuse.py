"""Which steps of a run are reused, by a model of the real cache key (tests/pipelines/kubeflow/cache.py)."""

import pytest

from tests.pipelines.kubeflow.cache import Cache
from tests.pipelines.specs import compiled

GIVEN = {"feature_repo": "s3://shop/features", "releases": "s3://shop/releases"}
ALWAYS = {
    "fingerprint-repository",
    *("validate", "data-gate", "promote", "report", "promotion-gate"),
    *("materialise", "publish", "deploy", "deploy-gate"),
}
REFRESHED = {"fingerprint-repository", "current-release", "refresh-gate", "publish-refreshed", "deploy", "deploy-gate"}


def results(fingerprint: str, release: str = "r1") -> dict[str, str]:
    return {"fingerprint-repository": fingerprint, "current-release": release, "publish": "r", "publish-refreshed": "r"}


@pytest.mark.parametrize("shards", [1, 3])
def test_a_second_training_on_unchanged_data_reuses_all_but_what_reads_the_world(shards: int) -> None:
    cache, pipeline = Cache(), compiled("training", f"shards={shards}")
    assert cache.run(pipeline, GIVEN, results("monday")) >= {"fetch-repository", "pull", "train"}
    assert cache.run(pipeline, GIVEN, results("monday")) == ALWAYS


def test_a_training_on_new_data_reuses_nothing_that_read_the_old() -> None:
    cache, pipeline = Cache(), compiled("training")
    cache.run(pipeline, GIVEN, results("monday"))
    second = cache.run(pipeline, GIVEN, results("tuesday"))
    assert second == set(pipeline.containers())
    assert cache.run(pipeline, GIVEN, results("monday")) == ALWAYS


def test_a_changed_setting_of_training_reuses_the_steps_before_it() -> None:
    cache = Cache()
    cache.run(compiled("training"), GIVEN, results("monday"))
    ran = cache.run(compiled("training", "epochs=3"), GIVEN, results("monday"))
    assert not {"fetch-repository", "pull", "leaks"} & ran
    assert {"train", "export", "index", "evaluate"} <= ran


def test_another_image_or_address_reuses_nothing() -> None:
    cache = Cache()
    cache.run(compiled("training"), GIVEN, results("monday"))
    pipeline = compiled("training", "image_tag=9.9.9")
    assert cache.run(pipeline, GIVEN, results("monday")) == set(pipeline.containers())
    other = GIVEN | {"feature_repo": "s3://other/features"}
    assert cache.run(compiled("training"), other, results("monday")) == set(pipeline.containers())


def test_a_second_refresh_of_the_same_release_and_data_embeds_nothing() -> None:
    cache, pipeline = Cache(), compiled("refresh_items", "shards=2")
    assert cache.run(pipeline, GIVEN, results("monday")) == set(pipeline.containers())
    assert cache.run(pipeline, GIVEN, results("monday")) == REFRESHED
    assert cache.run(pipeline, GIVEN, results("tuesday")) == set(pipeline.containers()) - {"fetch"}
    assert {"fetch", "embed", "refresh"} <= cache.run(pipeline, GIVEN, results("tuesday", release="r2"))


def test_a_data_set_is_prepared_once() -> None:
    cache, pipeline = Cache(), compiled("dataset")
    given = {"dataset": "sample", "releases": "s3://shop/releases", "fingerprint": "sample of 0.1.0"}
    cache.run(pipeline, given, results(""))
    assert cache.run(pipeline, given, results("")) == ALWAYS - {"fingerprint-repository"}

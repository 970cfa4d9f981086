import pytest

from pipelines.kubeflow.cluster import SECRET, TOLERATION, ClusterConfig, read
from two_tower.config.fields import split
from two_tower.errors import InputError


def test_the_parts_of_a_list() -> None:
    config = ClusterConfig(secrets="s3/KEY, s3/OTHER=NAME,", tolerations="gpu=yes:NoSchedule,spot:NoExecute")
    first, second = (read(SECRET, text) for text in split(config.secrets))
    assert first == {"secret": "s3", "key": "KEY", "variable": None}
    assert second == {"secret": "s3", "key": "OTHER", "variable": "NAME"}
    assert [read(TOLERATION, text)["value"] for text in split(config.tolerations)] == ["yes", None]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "secrets",
            "s3/KEY,s3,/",
            "because of 's3', '/'. Allowed: SECRET/KEY or SECRET/KEY=VARIABLE, separated by commas",
        ),
        ("data_cpu", "٢", "data_cpu='٢' is not allowed. Allowed: cores"),
        ("train_memory", "8 Gi", "such as 8Gi"),
        ("image_tag", "", "a version"),
        ("image_tag", "latest", "not `latest`"),
        ("train_image_tag", "latest", "or empty"),
        ("accelerators", 1.0, "accelerators=1.0 is not a whole number. Allowed: whole number, 0 to 64."),
        ("pending_minutes", 0, "pending_minutes=0.0 is out of range"),
    ],
)
def test_a_wrong_value_is_explained(name: str, value: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        ClusterConfig(**{name: value})  # type: ignore[arg-type]
    assert message in str(caught.value)

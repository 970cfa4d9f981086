import pytest

from pipelines.kubeflow.addresses import check_address, check_mounted
from pipelines.kubeflow.cluster import ClusterConfig
from two_tower.errors import InputError

VOLUMES = "claim:/mnt/data,other:/releases"


@pytest.mark.parametrize(
    ("address", "settings"),
    [
        ("s3://bucket/repo", {}),
        ("gs://bucket/repo", {}),
        ("minio://bucket/repo", {"s3_endpoint": "http://minio:9000"}),
        ("minio://bucket/repo", {"environment": "AWS_ENDPOINT_URL=http://minio:9000"}),
        ("/mnt/data/repo", {"volumes": VOLUMES}),
        ("/releases", {"volumes": VOLUMES}),
        ("file:///mnt/data/repo", {"volumes": VOLUMES}),
    ],
)
def test_stores_and_mounted_folders_are_accepted(address: str, settings: dict[str, str]) -> None:
    check_address("--feature-repo", address, ClusterConfig(**settings))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("./features", "'./features' cannot be opened by the steps, which mount /mnt/data, /releases"),
        ("/mnt/database", "which mount /mnt/data, /releases"),
        ("/mnt/data/../other", "which mount /mnt/data, /releases"),
        ("", "'' cannot be opened by the steps"),
        ("file:///elsewhere", "--set volumes=CLAIM:/PATH, or pass s3://"),
        ("https://example.com/repo", "is not in an object store of the steps. Allowed: s3://, s3a://, minio://, gs://"),
        ("hdfs://namenode/repo", "is not in an object store"),
        ("s3://", "has no bucket. Pass s3://BUCKET/FOLDER"),
        ("minio://bucket/repo", "--set s3_endpoint=http://minio-service.kubeflow:9000 --set secrets="),
    ],
)
def test_other_addresses_are_refused_with_a_next_step(address: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_address("--releases", address, ClusterConfig(volumes=VOLUMES))
    assert message in str(caught.value)


def test_raw_files_are_on_a_volume() -> None:
    with pytest.raises(InputError, match=r"'s3://bucket/raw' cannot be opened by the steps, which mount no volume"):
        check_mounted("--data-dir", "s3://bucket/raw", ClusterConfig())

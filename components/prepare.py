from kfp import dsl

from components import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def prepare(dataset: str, data_dir: str, fingerprint: str, repo: dsl.Output[dsl.Artifact]) -> None:
    """Write a public data set as a Feast feature repository. New raw data changes `fingerprint`, the cache key."""
    from pathlib import Path

    from two_tower.datasets.prepare import prepare

    prepare(dataset, Path(data_dir) if data_dir else None, Path(repo.path))
    repo.metadata["fingerprint"] = fingerprint

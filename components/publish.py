from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def publish(
    repo: dsl.Input[dsl.Artifact],
    pulled: dsl.Input[dsl.Dataset],
    towers: dsl.Input[dsl.Model],
    index: dsl.Input[dsl.Model],
    summary: dsl.Input[dsl.Artifact],
    dataset: str,
    releases: str,
) -> str:
    """The release, written in full and then made current; returns its id."""
    from pathlib import Path

    from two_tower.publish import publish

    folders = (Path(artifact.path) for artifact in (repo, pulled, towers, index, summary))
    return publish(*folders, dataset=dataset, releases=releases)

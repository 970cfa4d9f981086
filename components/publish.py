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
    requests: dsl.Output[dsl.Artifact],
) -> str:
    """Publish the release, write requests for its smoke test, and return its id."""
    from pathlib import Path

    from two_tower.data.pulled import Pulled
    from two_tower.deployment import smoke_test
    from two_tower.releases import publish

    smoke_test.write(smoke_test.requests_of_pull(Pulled.read(Path(pulled.path))), Path(requests.path))
    folders = (Path(artifact.path) for artifact in (repo, pulled, towers, index, summary))
    return publish.publish(*folders, dataset=dataset, releases=releases)

from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def publish(
    repo: dsl.Input[dsl.Artifact],
    pulled: dsl.Input[dsl.Dataset],
    towers: dsl.Input[dsl.Model],
    index: dsl.Input[dsl.Model],
    summary: dsl.Input[dsl.Artifact],
    users: dsl.Input[dsl.Dataset],
    dataset: str,
    releases: str,
    questions: dsl.Output[dsl.Artifact],
) -> str:
    """Publish the release, write the questions of its smoke test, and return its id."""
    from pathlib import Path

    from two_tower.data.pulled import Pulled
    from two_tower.deployment.questions import Questions
    from two_tower.releases import publish

    contract = Pulled.read(Path(pulled.path), tables=()).contract
    known = Questions.of_run(Path(users.path), contract, Path(towers.path), Path(index.path))
    known.write(Path(questions.path), contract)
    folders = (Path(artifact.path) for artifact in (repo, pulled, towers, index, summary))
    return publish.publish(*folders, dataset=dataset, releases=releases)

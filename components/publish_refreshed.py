from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def publish_refreshed(
    served: dsl.Input[dsl.Model],
    index: dsl.Input[dsl.Model],
    catalogue: dsl.Input[dsl.Dataset],
    verdict: dsl.Input[dsl.Artifact],
    releases: str,
    questions: dsl.Output[dsl.Artifact],
) -> str:
    """Publish the current release with the new index, write the questions of its smoke test, and return its id."""
    from pathlib import Path

    from two_tower.data.catalogue import Catalogue
    from two_tower.deployment.questions import Questions, digests
    from two_tower.gates import Verdict
    from two_tower.releases import refresh

    new = Catalogue.read(Path(catalogue.path))
    files = digests(Path(served.path)) | digests(Path(index.path))
    Questions(users=new.users, files=files).write(Path(questions.path), new.contract)
    return refresh.publish(Path(served.path), Path(index.path), new, Verdict.read(Path(verdict.path)), releases)

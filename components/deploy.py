from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def deploy(
    release: str,
    releases: str,
    questions: dsl.Input[dsl.Artifact],
    config: str,
    verdict: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.Markdown],
) -> None:
    """A published release, staged, asked real questions, and promoted or rolled back."""
    from pathlib import Path

    from two_tower.config import DeployConfig
    from two_tower.deployment import deploy, smoke_test

    settings = DeployConfig.from_json(config)
    decided = deploy.deploy(release, releases, smoke_test.read(Path(questions.path)), settings)
    decided.write(Path(verdict.path))
    Path(page.path).write_text(deploy.page(decided))

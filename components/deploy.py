from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def deploy(
    release: str,
    releases: str,
    requests: dsl.Input[dsl.Artifact],
    config: str,
    verdict: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.Markdown],
) -> None:
    """Stage a published release, run the smoke test, and promote it or roll it back."""
    from pathlib import Path

    from two_tower.config import DeployConfig
    from two_tower.deployment import deploy, smoke_test

    settings = DeployConfig.from_json(config)
    result = deploy.deploy(release, releases, smoke_test.read(Path(requests.path)), settings)
    result.write(Path(verdict.path))
    Path(page.path).write_text(deploy.page(result))

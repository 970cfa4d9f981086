from kfp import dsl

from components import SERVING_IMAGE


@dsl.component(base_image=SERVING_IMAGE, install_kfp_package=False)
def deploy(
    release: str,
    releases: str,
    questions: dsl.Input[dsl.Artifact],
    config: str,
    verdict: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.Markdown],
) -> None:
    """Stage a published release, run the smoke test, and promote it or roll it back."""
    from pathlib import Path

    from serving.http.background import serve_in_background
    from two_tower.config import DeployConfig
    from two_tower.deployment import deploy
    from two_tower.deployment.questions import Questions

    settings = DeployConfig.from_json(config)
    known = Questions.read(Path(questions.path))
    result = deploy.deploy(release, releases, known, settings, serve_in_background)
    result.write(Path(verdict.path))
    Path(page.path).write_text(deploy.page(result))

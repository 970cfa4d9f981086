from kfp import dsl

from components import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def validate(
    pulled: dsl.Input[dsl.Dataset],
    repo: dsl.Input[dsl.Artifact],
    releases: str,
    config: str,
    verdict: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
) -> None:
    """The data gate's verdict, by suites that follow from the contract and from the data of the release that serves."""
    from pathlib import Path

    from two_tower.checks.expectations import validate
    from two_tower.config import PullConfig
    from two_tower.data.pulled import Pulled
    from two_tower.releases.release import served_reference

    found = Pulled.read(Path(pulled.path))
    compared = PullConfig.from_json(config).compare_with == "release"
    before = served_reference(releases, found.contract) if compared else None
    validate(found, Path(report.path), before, Path(repo.path)).write(Path(verdict.path))

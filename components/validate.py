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
    """Run the data gate: expectations from the feature contract and from the data of the current release."""
    from pathlib import Path

    from two_tower.checks.expectations import validate
    from two_tower.config import PullConfig
    from two_tower.data.pulled import Pulled
    from two_tower.releases.release import served_reference

    data = Pulled.read(Path(pulled.path))
    compare = PullConfig.from_json(config).compare_with == "release"
    before = served_reference(releases, data.contract) if compare else None
    validate(data, Path(report.path), before, Path(repo.path)).write(Path(verdict.path))

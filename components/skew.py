from kfp import dsl

from components import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def skew(
    repo: dsl.Input[dsl.Artifact], release: str, releases: str, address: str, verdict: dsl.Output[dsl.Artifact]
) -> None:
    """The newest users, asked of the offline store, the online store and the live service: `two_tower.checks.skew`."""
    from pathlib import Path

    from two_tower.checks.skew import check_release

    check_release(Path(repo.path), releases, release, address).write(Path(verdict.path))

from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def fetch(releases: str, release: str, served: dsl.Output[dsl.Model]) -> None:
    """Copy a release and verify its files."""
    from pathlib import Path

    from two_tower.releases.refresh import fetch

    fetch(releases, release, Path(served.path))

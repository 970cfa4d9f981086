from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def current_release(releases: str) -> str:
    """Return the id of the current release."""
    from two_tower.releases.release import resolve

    return resolve(releases)

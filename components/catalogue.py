from kfp import dsl

from components import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def catalogue(repo: dsl.Input[dsl.Artifact], as_of: str, catalogue: dsl.Output[dsl.Dataset]) -> None:
    """Pull all items and their features at one time from Feast."""
    from datetime import datetime
    from pathlib import Path

    from two_tower.data.features import pull_catalogue

    until = datetime.fromisoformat(as_of) if as_of else None
    pull_catalogue(Path(repo.path), until, Path(catalogue.path))

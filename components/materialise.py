from kfp import dsl

from components import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def materialise(repo: dsl.Input[dsl.Artifact], pulled: dsl.Input[dsl.Dataset]) -> None:
    """Write the newest feature values to the online store that the service reads."""
    from pathlib import Path

    from two_tower.data.features import materialize
    from two_tower.data.pulled import Pulled

    materialize(Path(repo.path), Pulled.read(Path(pulled.path), tables=()).bounds.as_of)

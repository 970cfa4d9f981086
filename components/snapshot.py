from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def snapshot(pulled: dsl.Input[dsl.Dataset], catalogue: dsl.Output[dsl.Dataset]) -> None:
    """Write the newest catalogue of the pulled data without the interactions, for the shards."""
    from pathlib import Path

    from two_tower.data.catalogue import Catalogue
    from two_tower.data.pulled import Pulled

    Catalogue.from_pulled(Pulled.read(Path(pulled.path))).write(Path(catalogue.path))

from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def index(
    towers: dsl.Input[dsl.Model],
    pulled: dsl.Input[dsl.Dataset],
    index: dsl.Output[dsl.Model],
) -> None:
    """Embed the newest catalogue and write the retrieval index."""
    from pathlib import Path

    from two_tower.data.pulled import Pulled
    from two_tower.releases.item_index import build_index

    build_index(Path(towers.path), Pulled.read(Path(pulled.path)), Path(index.path))

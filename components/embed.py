from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def embed(
    towers: dsl.Input[dsl.Model],
    catalogue: dsl.Input[dsl.Dataset],
    part: str,
    embedded: dsl.Output[dsl.Dataset],
) -> None:
    """Embed one shard of the catalogue, such as `2/4`, with the item tower."""
    from pathlib import Path

    from two_tower.data.catalogue import Catalogue
    from two_tower.releases.index_shards import embed_part

    embed_part(Path(towers.path), Catalogue.read(Path(catalogue.path)), part, Path(embedded.path))

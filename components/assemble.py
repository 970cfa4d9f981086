from typing import List  # noqa: UP035 - kfp reads lists of artifacts by this name

from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def assemble(
    towers: dsl.Input[dsl.Model],
    pulled: dsl.Input[dsl.Dataset],
    parts: dsl.Input[List[dsl.Dataset]],  # noqa: UP006
    index: dsl.Output[dsl.Model],
) -> None:
    """Build the retrieval index of the newest catalogue from its embedded shards."""
    from pathlib import Path

    from two_tower.data.pulled import Pulled
    from two_tower.releases.index_shards import assemble_pulled

    assemble_pulled(
        Path(towers.path), Pulled.read(Path(pulled.path)), [Path(part.path) for part in parts], Path(index.path)
    )

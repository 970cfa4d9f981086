from typing import List  # noqa: UP035 - kfp reads lists of artifacts by this name

from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def refresh(
    served: dsl.Input[dsl.Model],
    catalogue: dsl.Input[dsl.Dataset],
    parts: dsl.Input[List[dsl.Dataset]],  # noqa: UP006
    index: dsl.Output[dsl.Model],
    verdict: dsl.Output[dsl.Artifact],
) -> None:
    """Build the retrieval index from the embedded shards, and judge whether it may replace the current one."""
    from pathlib import Path

    from two_tower.data.catalogue import Catalogue
    from two_tower.releases.refresh import assemble

    folders = [Path(part.path) for part in parts]
    result = assemble(Path(served.path), Catalogue.read(Path(catalogue.path)), folders, Path(index.path))
    result.write(Path(verdict.path))

from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def export(
    model: dsl.Input[dsl.Model],
    pulled: dsl.Input[dsl.Dataset],
    towers: dsl.Output[dsl.Model],
    verdict: dsl.Output[dsl.Artifact],
) -> None:
    """Export each tower to an ONNX file, and run the parity gate."""
    from pathlib import Path

    from two_tower.data.pulled import Pulled
    from two_tower.exporting import export, parity
    from two_tower.training.network.model import load

    trained = load(Path(model.path))
    export.export(trained, Path(towers.path))
    parity.check(trained, Path(towers.path), Pulled.read(Path(pulled.path))).write(Path(verdict.path))

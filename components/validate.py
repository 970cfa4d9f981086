from kfp import dsl

from components import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def validate(
    pulled: dsl.Input[dsl.Dataset],
    verdict: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
) -> None:
    """The data gate's verdict, by a Great Expectations suite derived from the feature contract."""
    from pathlib import Path

    from two_tower.expectations import validate
    from two_tower.pulled import Pulled

    validate(Pulled.read(Path(pulled.path)), Path(report.path)).write(Path(verdict.path))

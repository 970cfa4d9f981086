from kfp import dsl

from components import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def gate(verdict: dsl.Input[dsl.Artifact]) -> None:
    """Fail with the reasons of a gate that did not pass. The step before it has already stored its artifacts."""
    from pathlib import Path

    from two_tower.gates import Verdict, hold

    hold(Verdict.read(Path(verdict.path)))

from kfp import dsl

from components import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def gate(verdict: dsl.Input[dsl.Artifact]) -> None:
    """Fail here, with the reasons, unless the gate passed: the step that judged has kept its artifacts."""
    from pathlib import Path

    from two_tower.gates import Verdict, hold

    hold(Verdict.read(Path(verdict.path)))

from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def promote(
    evaluation: dsl.Input[dsl.Artifact],
    pulled: dsl.Input[dsl.Dataset],
    releases: str,
    config: str,
    verdict: dsl.Output[dsl.Artifact],
) -> None:
    """Write the verdict of the promotion gate: the model against the baselines and the current release."""
    from pathlib import Path

    from two_tower.config import EvaluationConfig
    from two_tower.data.pulled import Pulled
    from two_tower.evaluation.evaluate import Report
    from two_tower.evaluation.promotion import decide

    decide(
        Report.read(Path(evaluation.path)),
        Pulled.read(Path(pulled.path)),
        releases,
        EvaluationConfig.from_json(config),
    ).write(Path(verdict.path))

from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def evaluate(
    pulled: dsl.Input[dsl.Dataset],
    towers: dsl.Input[dsl.Model],
    repo: dsl.Input[dsl.Artifact],
    config: str,
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    curve: dsl.Output[dsl.ClassificationMetrics],
) -> None:
    """Evaluate the ONNX towers on the test window, with the baselines and, for a simulated world, its oracle."""
    from pathlib import Path

    from two_tower.config import EvaluationConfig
    from two_tower.data.pulled import Pulled
    from two_tower.evaluation.evaluate import evaluate
    from two_tower.evaluation.metrics import roc

    oracle = Path(repo.path) / "oracle"
    settings = EvaluationConfig.from_json(config)
    result = evaluate(Pulled.read(Path(pulled.path)), Path(towers.path), oracle if oracle.exists() else None, settings)
    result.write(Path(evaluation.path))
    figures = result.metrics["two_tower"]
    for name, value in figures.items():
        metrics.log_metric(name, value)
    curve.log_roc_curve(*roc(figures, result.counts["items"]))
    for artifact in (metrics, curve):  # they have metadata only; without a file, kfp's local cache treats them as lost
        Path(artifact.path).touch()

from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def report(
    title: str,
    evaluation: dsl.Input[dsl.Artifact],
    model: dsl.Input[dsl.Model],
    data_verdict: dsl.Input[dsl.Artifact],
    parity_verdict: dsl.Input[dsl.Artifact],
    promotion_verdict: dsl.Input[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Artifact],
) -> None:
    """One page for people, and the same as JSON for scripts."""
    from pathlib import Path

    from two_tower.summary import write

    verdicts = [Path(v.path) for v in (data_verdict, parity_verdict, promotion_verdict)]
    write(title, Path(evaluation.path), Path(model.path), verdicts, Path(page.path), Path(summary.path))

from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def report(
    title: str,
    evaluation: dsl.Input[dsl.Artifact],
    model: dsl.Input[dsl.Model],
    towers: dsl.Input[dsl.Model],
    pulled: dsl.Input[dsl.Dataset],
    releases: str,
    data_verdict: dsl.Input[dsl.Artifact],
    leak_verdict: dsl.Input[dsl.Artifact],
    parity_verdict: dsl.Input[dsl.Artifact],
    promotion_verdict: dsl.Input[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Artifact],
) -> None:
    """Write the report of the run as HTML, and its figures as JSON."""
    from pathlib import Path

    from two_tower.report.summary import write

    write(
        title,
        evaluation=Path(evaluation.path),
        model=Path(model.path),
        towers=Path(towers.path),
        pulled=Path(pulled.path),
        verdicts=[Path(v.path) for v in (data_verdict, leak_verdict, parity_verdict, promotion_verdict)],
        releases=releases,
        page=Path(page.path),
        summary=Path(summary.path),
    )

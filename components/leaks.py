from kfp import dsl

from components import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def leaks(repo: dsl.Input[dsl.Artifact], as_of: str, verdict: dsl.Output[dsl.Artifact]) -> None:
    """Find features that contain future information."""
    from datetime import datetime
    from pathlib import Path

    from two_tower.checks.leaks import check

    check(Path(repo.path), datetime.fromisoformat(as_of) if as_of else None).write(Path(verdict.path))

from kfp import dsl

from components import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def pull(
    repo: dsl.Input[dsl.Artifact],
    as_of: str,
    config: str,
    pulled: dsl.Output[dsl.Dataset],
) -> None:
    """Pull interactions with point-in-time features from Feast."""
    from datetime import datetime
    from pathlib import Path

    from two_tower.config import PullConfig
    from two_tower.data.features import pull_into

    until = datetime.fromisoformat(as_of) if as_of else None
    pull_into(Path(repo.path), PullConfig.from_json(config), until, Path(pulled.path))

from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def train(
    pulled: dsl.Input[dsl.Dataset], config: str, releases: str, processes: int, model: dsl.Output[dsl.Model]
) -> None:
    """Train both towers jointly on the pulled data, in one process or in one for each accelerator."""
    from pathlib import Path

    from two_tower.config import TrainConfig
    from two_tower.training.launch import train_step

    train_step(Path(pulled.path), TrainConfig.from_json(config), releases, processes, Path(model.path))

from kfp import dsl

from components import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def train(pulled: dsl.Input[dsl.Dataset], config: str, model: dsl.Output[dsl.Model]) -> None:
    """Train both towers jointly on the pulled data."""
    from pathlib import Path

    from two_tower.config import TrainConfig
    from two_tower.training.train import train

    train(Path(pulled.path), TrainConfig.from_json(config), Path(model.path))

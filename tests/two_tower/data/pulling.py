"""Settings of the pull of the shop for the tests of this folder."""

from two_tower.config import PullConfig

CONFIG = PullConfig(train_fraction=0.6, validation_fraction=0.2, index_refreshes=2)

"""A recommender with the interface of scikit-learn: fit on tables or on a Feast repository, recommend, save, load.

estimator   TwoTowerRecommender
answers     requests to it, answered as data frames
params      parameters, as scikit-learn's tools read and set them
frames      pandas, polars and Arrow tables as Arrow tables, checked
fitting     the steps from tables to a folder with a release
fitted      that folder, opened: users, items and the Recommender
saving      that folder, copied to where it is served from
evaluation  metrics of later interactions
progress    the progress bar
"""

from two_tower.estimator.answers import NotFittedError
from two_tower.estimator.estimator import TwoTowerRecommender

__all__ = ["NotFittedError", "TwoTowerRecommender"]

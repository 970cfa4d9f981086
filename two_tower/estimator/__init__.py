"""A recommender with the interface of scikit-learn: fit on tables or on a Feast repository, recommend, save, load.

estimator   TwoTowerRecommender
answers     recommendations, scores and embeddings as data frames
params      get_params and set_params, as in scikit-learn
frames      convert pandas, polars and Arrow tables to Arrow, and check them
fitting     the steps from tables to a folder with a release
fitted      an opened folder: users, items and the Recommender
saving      copy a folder to the place that it is served from
evaluation  metrics of later interactions
progress    the progress bar
"""

from two_tower.estimator.answers import NotFittedError
from two_tower.estimator.estimator import TwoTowerRecommender

__all__ = ["NotFittedError", "TwoTowerRecommender"]

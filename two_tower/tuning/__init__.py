"""Hyperparameter search: a search space, a study that can be interrupted and resumed, and the space for Katib."""

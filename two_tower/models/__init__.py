"""Recommenders that need no features: `fit` learns from interactions, `score` scores all items for a history."""

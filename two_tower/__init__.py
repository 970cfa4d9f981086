"""Candidate retrieval with two-tower models, from a feature store to a served top-k."""

__version__ = "0.1.0"

"""Evaluation of the towers against baselines, and the promotion gate."""

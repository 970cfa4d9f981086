"""Feast definitions, one folder per data set. A run copies the folder of its data set next to the data."""

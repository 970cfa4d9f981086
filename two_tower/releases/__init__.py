"""Releases: immutable folders that are built, published to storage, and opened by a service."""

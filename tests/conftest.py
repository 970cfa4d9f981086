"""Import prometheus_client before Feast, and run the longest files first."""

# Feast sets an environment variable that makes a later import of prometheus_client store all metrics in shared files.
import prometheus_client  # noqa: F401
import pytest

LONG = ("e2e", "benchmarks", "docs")  # folders whose tests are whole runs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs come first: a process that starts one at the end leaves the other processes without work."""
    items.sort(key=lambda item: item.path.parent.name not in LONG)

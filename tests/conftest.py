"""With this file, pytest puts the root on the path, and tests of every room can import `tests.raw`."""

# Before Feast, which tells prometheus_client by the environment to share every registry's values in files.
import prometheus_client  # noqa: F401

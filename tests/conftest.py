"""Import prometheus_client before Feast."""

# Feast sets an environment variable that makes a later import of prometheus_client store all metrics in shared files.
import prometheus_client  # noqa: F401

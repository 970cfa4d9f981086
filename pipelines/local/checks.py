"""Checks of this machine before a run."""

import importlib.util

from two_tower.config import DeployConfig
from two_tower.errors import InputError

SERVICE_PACKAGES = ("kserve", "starlette", "uvicorn", "orjson", "prometheus_client", "opentelemetry")


def check_service(config: DeployConfig) -> None:
    """Check that the service can be started here, which the deploy step asks before it promotes the release.

    Raises:
        InputError: A package of the service is not installed.
    """
    missing = [name for name in SERVICE_PACKAGES if importlib.util.find_spec(name) is None]
    if config.deployer == "local" and missing:
        raise InputError(
            f"the packages of the service are not installed: {', '.join(missing)}. A run starts the service to test a "
            'release before it promotes it. Run `pip install "two-tower[serving]"`.'
        )

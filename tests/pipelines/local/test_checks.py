import pytest

from pipelines.local import checks
from two_tower.config import DeployConfig
from two_tower.errors import InputError


def test_packages_of_the_service_are_missed_before_the_run_and_only_where_it_starts_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checks.check_service(DeployConfig())
    monkeypatch.setattr(checks, "SERVICE_PACKAGES", ("uvicorn", "no_such_package"))
    checks.check_service(DeployConfig(deployer="kserve"))
    with pytest.raises(InputError, match=r"not installed: no_such_package\. .*pip install"):
        checks.check_service(DeployConfig())

"""Deployment of a release: stage it, run a smoke test against it, then promote it or roll it back."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from two_tower.config import DeployConfig
from two_tower.deployment import smoke_test
from two_tower.deployment.kserve import KServe, NotReadyError
from two_tower.gates import Verdict
from two_tower.releases import model_registry, release


class Deployer(Protocol):
    """The environment that releases are deployed to.

    Each method can be repeated: it continues from the state that an interrupted call left.
    """

    def serving(self) -> str | None:
        """Return the id of the release that was promoted last; None before the first."""

    def stage(self, release_id: str) -> None:
        """Start a release in parallel to the current one, with at most a share of the traffic."""

    def wait(self) -> str | None:
        """Wait until the staged release is ready.

        Returns:
            The address at which it answers; None if it answers nowhere before it is promoted.

        Raises:
            kserve.NotReadyError: It did not become ready in time.
        """

    def promote(self, release_id: str) -> None:
        """Give all of the traffic to the staged release."""

    def roll_back(self) -> None:
        """Give all of the traffic to the release that served before."""


class Local:
    """Deploys releases by the pointer of their folder or bucket, which services follow."""

    def __init__(self, releases: str) -> None:
        self._releases = releases

    def serving(self) -> str | None:
        return release.current(self._releases)

    def stage(self, release_id: str) -> None:
        release.verify(self._releases, release_id)

    def wait(self) -> str | None:
        return None

    def promote(self, release_id: str) -> None:
        release.activate(self._releases, release_id)

    def roll_back(self) -> None:
        """Do nothing: staging has changed nothing."""


def create_deployer(releases: str, config: DeployConfig) -> Deployer:
    """Create the deployer that the settings name.

    Raises:
        InputError: The cluster of the deployer is not known, or cannot read the releases.
    """
    return KServe.connect(releases, config) if config.deployer == "kserve" else Local(releases)


def deploy(release_id: str, releases: str, requests: Sequence[Mapping[str, Any]], config: DeployConfig) -> Verdict:
    """Deploy a published release, and register it if the settings name a model registry.

    Args:
        release_id: Id of the release.
        releases: Folder or URL of the releases.
        requests: Bodies of the requests for the smoke test (see `smoke_test`).
        config: Settings of the deployment.
    """
    verdict = roll_out(release_id, create_deployer(releases, config), requests, config)
    if verdict.passed and config.model_registry:
        manifest = release.verify(releases, release_id)
        model_registry.register(config.model_registry, config.service, f"{releases}/{release_id}", manifest)
    return verdict


def roll_out(
    release_id: str, deployer: Deployer, requests: Sequence[Mapping[str, Any]], config: DeployConfig
) -> Verdict:
    """Stage a published release, run the smoke test against it, and promote it or roll it back.

    A release that already serves is left unchanged. If any step fails, the previous release keeps serving.

    Returns:
        A verdict whose detail `action` is promoted, rolled back or unchanged.
    """
    before = deployer.serving()
    if before == release_id:
        return Verdict(gate="deploy", passed=True, details={"action": "unchanged", "release": release_id})
    deployer.stage(release_id)
    try:
        reasons, figures = _test_staged(release_id, deployer, requests[: 2 * config.questions], config)
    except BaseException:
        deployer.roll_back()
        raise
    details = {"release": release_id, "before": before, **figures}
    if reasons:
        deployer.roll_back()
        rolled_back = f"Rolled back: {before or 'no release'} serves as before."
        return Verdict(
            gate="deploy", passed=False, reasons=(*reasons, rolled_back), details={"action": "rolled back", **details}
        )
    deployer.promote(release_id)
    return Verdict(gate="deploy", passed=True, details={"action": "promoted", **details})


def _test_staged(
    release_id: str, deployer: Deployer, requests: Sequence[Mapping[str, Any]], config: DeployConfig
) -> tuple[list[str], dict[str, Any]]:
    """The reasons why the staged release must not serve, and the figures of the smoke test."""
    try:
        address = deployer.wait()
    except NotReadyError as error:
        return [str(error)], {}
    if address is None:
        return [], {}
    return smoke_test.run(address, requests, release_id, config.slowest_ms)


def page(verdict: Verdict) -> str:
    """Return the verdict as Markdown, for the page of the pipeline step."""
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in verdict.details.items())
    reasons = "".join(f"- {reason}\n" for reason in verdict.reasons)
    return f"# Deploy: {verdict.details['action']}\n\n{reasons}\n| | |\n|---|---|\n{rows}\n"

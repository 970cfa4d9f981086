"""Deployment of a release: stage it, run a smoke test against it, then promote it or roll it back."""

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Protocol

from two_tower.config import DeployConfig
from two_tower.deployment import kserve, readiness, smoke_test
from two_tower.deployment.questions import Questions
from two_tower.deployment.readiness import NotReadyError
from two_tower.deployment.smoke_test import Address
from two_tower.gates import Verdict
from two_tower.http_json import call
from two_tower.releases import model_registry, release

# Serves a release of a folder until the block ends; the addresses for HTTP and gRPC. `serving.http.background` has one.
Serve = Callable[[str, str], AbstractContextManager[tuple[str, str]]]


class Deployer(Protocol):
    """The environment that releases are deployed to.

    Each method can be repeated: it continues from the state that an interrupted call left.
    """

    def serving(self) -> str | None:
        """Return the id of the release that was promoted last; None before the first."""

    def stage(self, release_id: str) -> None:
        """Start a release in parallel to the current one, with at most a share of the traffic."""

    def wait(self) -> Address | str:
        """Wait until the staged release is ready.

        Returns:
            The address at which it answers. A text is the address for HTTP of a service that users share.

        Raises:
            readiness.NotReadyError: It did not become ready in time.
        """

    def promote(self, release_id: str) -> None:
        """Give all of the traffic to the staged release.

        Raises:
            readiness.NotReadyError: It was staged apart from the service that users call, and is not ready there.
        """

    def roll_back(self) -> None:
        """Take the traffic from the staged release. The release that served before receives all of it."""

    def restore_previous(self) -> str:
        """Give all of the traffic to the release that was promoted before the current one, and move the pointer to it.

        Returns:
            The id of the release.

        Raises:
            InputError: No earlier release can serve at once.
        """


class Local:
    """Deploys releases by the pointer of their folder or bucket, which services follow.

    A staged release is served on this machine, from a folder of its own: it neither reads nor writes the side items of
    the releases.

    Args:
        releases: Folder or URL of the releases.
        serve: Serves a release on this machine.
        ready_timeout: Seconds in which the staged release has to become ready.
    """

    def __init__(self, releases: str, serve: Serve, ready_timeout: float) -> None:
        self._releases, self._serve, self._ready_timeout = releases, serve, ready_timeout
        self._staged = ExitStack()
        self._address: Address | None = None

    def serving(self) -> str | None:
        return release.current(self._releases)

    def stage(self, release_id: str) -> None:
        with ExitStack() as opened:
            own = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="two-tower-")))
            folder = release.open_release(self._releases, release_id, own).folder
            if folder.parent != own:
                (own / release_id).symlink_to(folder.resolve())
            http, grpc = opened.enter_context(self._serve(str(own), release_id))
            self._address = Address(http, grpc, shared=False)
            self._staged = opened.pop_all()

    def wait(self) -> Address:
        assert self._address, "a release is staged"
        readiness.wait(self._not_ready, self._ready_timeout, "the release", "See the log of this step.")
        return self._address

    def promote(self, release_id: str) -> None:
        self._staged.close()
        release.activate(self._releases, release_id)

    def roll_back(self) -> None:
        self._staged.close()

    def restore_previous(self) -> str:
        return release.rollback(self._releases)

    def _not_ready(self) -> str:
        """The reason why the staged release does not answer yet; empty if it does."""
        assert self._address, "a release is staged"
        try:
            response = call("GET", f"{self._address.http}/v2/health/ready")
        except OSError as error:
            return str(error)
        return "" if response.status == 200 else str(response.body)[:200]


def create_deployer(releases: str, config: DeployConfig, serve: Serve) -> Deployer:
    """Create the deployer that the settings name.

    Args:
        releases: Folder or URL of the releases.
        config: Settings of the deployment.
        serve: Serves a release on this machine, for the deployer `local`.

    Raises:
        InputError: The cluster of the deployer is not known, or cannot read the releases.
    """
    if config.deployer == "local":
        return Local(releases, serve, config.ready_timeout)
    return kserve.connect(releases, config)


def deploy(release_id: str, releases: str, questions: Questions, config: DeployConfig, serve: Serve) -> Verdict:
    """Deploy a published release, and register it if the settings name a model registry.

    Args:
        release_id: Id of the release.
        releases: Folder or URL of the releases.
        questions: Users of the smoke test, and what the run knows of them.
        config: Settings of the deployment.
        serve: Serves a release on this machine, for the deployer `local`.
    """
    deployer = create_deployer(releases, config, serve)
    verdict = roll_out(release_id, releases, deployer, questions.first(config.questions), config.slowest_ms)
    if verdict.passed and config.model_registry:
        manifest = release.verify(releases, release_id)
        model_registry.register(config.model_registry, config.service, f"{releases}/{release_id}", manifest)
    return verdict


def activate(release_id: str, releases: str, config: DeployConfig) -> Verdict:
    """Deploy any published release to a cluster, with a smoke test for its recently active users.

    Args:
        release_id: Id of the release.
        releases: URL of the releases.
        config: Settings of the deployment, with the deployer kserve or kubernetes.
    """
    deployer = kserve.connect(releases, config)
    with tempfile.TemporaryDirectory(prefix="two-tower-") as cache:
        users = release.open_release(releases, release_id, Path(cache)).users()
    return roll_out(release_id, releases, deployer, Questions(users=users).first(config.questions), config.slowest_ms)


def roll_out(release_id: str, releases: str, deployer: Deployer, questions: Questions, slowest_ms: float) -> Verdict:
    """Stage a published release, run the smoke test against it, and promote it or roll it back.

    A release that already serves is left unchanged. If any step fails, the previous release keeps serving.

    Args:
        release_id: Id of the release.
        releases: Folder or URL of the releases.
        deployer: The environment that the release is deployed to.
        questions: Users of the smoke test, and what the run knows of them.
        slowest_ms: Allowed 95th percentile of the latency of a service that users share, milliseconds.

    Returns:
        A verdict whose detail `action` is promoted, rolled back or unchanged.
    """
    before = deployer.serving()
    if before == release_id:
        return Verdict(gate="deploy", passed=True, details={"action": "unchanged", "release": release_id})
    deployer.stage(release_id)
    try:
        reasons, figures = _test_staged(release_id, releases, deployer, questions, slowest_ms)
    except BaseException:
        deployer.roll_back()
        raise
    details = {"release": release_id, "before": before, **figures}
    if not reasons:
        try:
            deployer.promote(release_id)
        except NotReadyError as error:
            reasons = [str(error)]
    if reasons:
        deployer.roll_back()
        rolled_back = f"Rolled back: {before or 'no release'} serves as before."
        return Verdict(
            gate="deploy", passed=False, reasons=(*reasons, rolled_back), details={"action": "rolled back", **details}
        )
    return Verdict(gate="deploy", passed=True, details={"action": "promoted", **details})


def _test_staged(
    release_id: str, releases: str, deployer: Deployer, questions: Questions, slowest_ms: float
) -> tuple[list[str], dict[str, Any]]:
    """The reasons why the staged release must not serve, and the figures of the smoke test."""
    try:
        address = deployer.wait()
    except NotReadyError as error:
        return [str(error)], {}
    address = Address(address) if isinstance(address, str) else address
    with tempfile.TemporaryDirectory(prefix="two-tower-") as cache:
        opened = release.open_release(releases, release_id, Path(cache))
        return smoke_test.run(address, releases, opened, questions, slowest_ms)


def page(verdict: Verdict) -> str:
    """Return the verdict as Markdown, for the page of the pipeline step."""
    details = {name: value for name, value in verdict.details.items() if name != "questions"}
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in details.items())
    reasons = "".join(f"- {reason}\n" for reason in verdict.reasons)
    asked = "".join(
        f"| {row['kind']} | {row['asked']} | {row['right']} | {row['differ']} |\n"
        for row in verdict.details.get("questions", ())
    )
    table = f"\n| questions | asked | right | differ |\n|---|---|---|---|\n{asked}" if asked else ""
    return f"# Deploy: {verdict.details['action']}\n\n{reasons}\n| | |\n|---|---|\n{rows}\n{table}"

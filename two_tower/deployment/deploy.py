"""A release made to serve: staged, asked real questions, promoted or rolled back."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from two_tower.config import DeployConfig
from two_tower.deployment.kserve import KServe, NotReadyError
from two_tower.deployment.smoke_test import replay
from two_tower.gates import Verdict
from two_tower.releases import model_registry, release


class Deployer(Protocol):
    """Where releases serve. Each call may be repeated: it finds what an interrupted one has left."""

    def serving(self) -> str | None:
        """The release that was promoted last, None before the first."""

    def stage(self, release: str) -> None:
        """Bring a release up beside the one that serves, for a share of the traffic at most."""

    def wait(self) -> str | None:
        """The address that answers with the staged release, once it is ready; None where nothing listens.

        Raises kserve.NotReadyError.
        """

    def promote(self, release: str) -> None:
        """All of the traffic to the staged release."""

    def roll_back(self) -> None:
        """All of the traffic to what served before."""


class Local:
    """Releases in a folder or a bucket, followed by services that read its pointer."""

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
        """Staging has changed nothing."""


def deployer(releases: str, config: DeployConfig) -> Deployer:
    """The deployer that the settings name. Raises InputError where its cluster is not known."""
    return KServe.connect(releases, config) if config.deployer == "kserve" else Local(releases)


def deploy(release_id: str, releases: str, questions: Sequence[Mapping[str, Any]], config: DeployConfig) -> Verdict:
    """Roll a published release out to where the settings say, and register it where a Model Registry is configured."""
    verdict = roll_out(release_id, deployer(releases, config), questions, config)
    if verdict.passed and config.model_registry:
        manifest = release.verify(releases, release_id)
        model_registry.register(config.model_registry, config.service, f"{releases}/{release_id}", manifest)
    return verdict


def roll_out(release_id: str, to: Deployer, questions: Sequence[Mapping[str, Any]], config: DeployConfig) -> Verdict:
    """Stage a published release, replay the questions against it, and promote it or roll it back.

    A release that serves already is left alone. Whatever goes wrong on the way, what served before serves on. The
    verdict's details say what was done: `action` is promoted, rolled back or unchanged.
    """
    before = to.serving()
    if before == release_id:
        return Verdict(gate="deploy", passed=True, details={"action": "unchanged", "release": release_id})
    to.stage(release_id)
    try:
        reasons, measured = _tried(release_id, to, questions[: 2 * config.questions], config)
    except BaseException:
        to.roll_back()
        raise
    details = {"release": release_id, "before": before, **measured}
    if reasons:
        to.roll_back()
        kept = f"Rolled back: {before or 'nothing'} serves as before."
        return Verdict(
            gate="deploy", passed=False, reasons=(*reasons, kept), details={"action": "rolled back", **details}
        )
    to.promote(release_id)
    return Verdict(gate="deploy", passed=True, details={"action": "promoted", **details})


def _tried(
    release_id: str, to: Deployer, questions: Sequence[Mapping[str, Any]], config: DeployConfig
) -> tuple[list[str], dict[str, Any]]:
    """Why the staged release must not serve, and what was measured."""
    try:
        address = to.wait()
    except NotReadyError as error:
        return [str(error)], {}
    if address is None:
        return [], {}
    return replay(address, questions, release_id, config.slowest_ms)


def page(verdict: Verdict) -> str:
    """The verdict in Markdown, for the pipelines' page."""
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in verdict.details.items())
    reasons = "".join(f"- {reason}\n" for reason in verdict.reasons)
    return f"# Deploy: {verdict.details['action']}\n\n{reasons}\n| | |\n|---|---|\n{rows}\n"

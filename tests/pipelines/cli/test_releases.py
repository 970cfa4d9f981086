"""`two-tower releases` on a cluster: the traffic and the pointer move together."""

import json
from pathlib import Path

import pytest

from tests.pipelines.cli.running import two_tower
from tests.two_tower import parts
from tests.two_tower.cluster import cluster
from tests.two_tower.deployment.conftest import consistent
from tests.two_tower.kserve_controller import Installation
from two_tower.deployment import readiness, smoke_test
from two_tower.releases import release


@pytest.mark.parametrize("deployer", ["kserve", "kubernetes"])
def test_releases_are_activated_and_rolled_back_with_the_traffic(
    deployer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "POLL_INTERVAL", 0.01)
    monkeypatch.setattr(smoke_test, "PAUSE", 0.0)
    where = f"file://{tmp_path}/releases"
    first, second = (
        release.publish(where, [consistent(tmp_path / name, prefix=name)], parts.manifest()) for name in ("a", "b")
    )
    with cluster() as kube:
        kube.releases, kube.kserve = where, Installation()
        place = [f"deployer={deployer}", "namespace=shop", f"kubernetes_api={kube.address}", "slowest_ms=60000"]
        options = ["--releases", where, *(word for one in place for word in ("--set", one))]
        for one in (first, second):
            result = two_tower("releases", "activate", one, *options, "--json")
            assert (result.exit_code, json.loads(result.stdout)) == (0, {"current": one}), result.stderr
            assert kube.shares() == {one: 100} and release.current(where) == one
        assert two_tower("releases", "rollback", *options).exit_code == 0
        assert kube.shares() == {first: 100} and release.current(where) == first

        kube.answers[second] = "fails"
        result = two_tower("releases", "activate", second, *options, "--json")
        assert result.exit_code == 3 and json.loads(result.stdout)["current"] == first
        assert "Rolled back" in json.loads(result.stdout)["reasons"][-1]
        assert kube.shares() == {first: 100}


def test_a_rollback_to_an_earlier_release_that_does_not_run_says_what_to_do(tmp_path: Path) -> None:
    with cluster() as kube:
        options = ["--set", "deployer=kserve", "--set", "namespace=shop", "--set", f"kubernetes_api={kube.address}"]
        result = two_tower("releases", "rollback", "--releases", f"file://{tmp_path}", *options)
    assert result.exit_code == 2 and "two-tower releases activate ID" in result.stderr

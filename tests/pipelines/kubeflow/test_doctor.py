"""`two-tower doctor` against a Pipelines API, a registry and no cluster."""

import json
from typing import Any

import pytest

from pipelines.kubeflow import doctor
from pipelines.kubeflow.compiled import Plan
from tests.pipelines.cli.running import two_tower
from tests.pipelines.endpoint import TOKEN, pipelines
from tests.two_tower.cluster import Handler, listening
from two_tower.errors import InputError


@pytest.fixture(autouse=True)
def no_cluster(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)


def found(*arguments: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
    result = two_tower("doctor", "--json", *arguments)
    topics: dict[str, list[dict[str, str]]] = {}
    for finding in json.loads(result.stdout):
        topics.setdefault(finding["topic"], []).append(finding)
    return result.exit_code, topics


def test_with_a_pipelines_api_alone_the_rest_is_unknown() -> None:
    with pipelines() as api:
        status, topics = found("--host", api.address, "--set", "image_prefix=127.0.0.1:1/shop")
    (version,) = topics["pipelines"]
    assert status == 0 and version["state"] == "works" and "version 2.17.0, one namespace for all" in version["detail"]
    assert "not steps that exit with an error" in version["detail"]
    assert [finding["state"] for finding in topics["submit"]] == ["works"]
    assert topics["kubernetes"][0]["state"] == "unknown" and "kubectl proxy" in topics["kubernetes"][0]["detail"]
    assert {finding["state"] for finding in topics["image"]} == {"unknown"}


def test_a_version_before_2_16_cannot_embed_in_shards() -> None:
    plan = Plan.of("training", ["shards=2"])
    with pipelines(version="2.15.2") as api:
        _, (version, _) = doctor.of_pipelines(api.address, "", "", plan)
    assert (version.state, version.setting) == ("problem", "--set shards=1")


@pytest.mark.parametrize(
    ("api", "state", "detail"),
    [
        ({"token": TOKEN}, "problem", "refused the token"),
        ({"page": "<html>Log in</html>"}, "problem", "perhaps a login page"),
        ({"multi_user": True}, "problem", "a namespace for each user"),
    ],
)
def test_an_api_that_refuses_is_a_problem(api: dict[str, Any], state: str, detail: str) -> None:
    with pipelines(**api) as server:
        status, topics = found("--host", server.address)
    assert status == 3 and topics["pipelines"][0]["state"] == state and detail in topics["pipelines"][0]["detail"]


def test_an_api_without_rights_in_the_namespace_is_a_problem() -> None:
    with pipelines(forbidden="User 'ann' is not authorized", multi_user=True) as api:
        status, topics = found("--host", api.address, "--namespace", "bob")
    assert status == 3 and "HTTP 403" in topics["submit"][0]["detail"]


def test_without_any_access_the_status_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.kubeflow.submit.IN_CLUSTER", "http://127.0.0.1:1")
    result = two_tower("doctor", "--set", "image_prefix=127.0.0.1:1/shop")
    assert result.exit_code == 2 and "nothing could be asked" in result.stderr
    assert result.stdout.startswith("unknown  pipelines    no Pipelines API responds at http://127.0.0.1:1")


def registry(status: int) -> type[Handler]:
    class Registry(Handler):
        def do_HEAD(self) -> None:  # noqa: N802
            assert self.path == "/v2/shop/two-tower-data/manifests/0.1.0" or "data" not in self.path
            self.send_response(status)
            self.end_headers()

    return Registry


@pytest.mark.parametrize(("answer", "state"), [(200, "works"), (404, "problem"), (401, "unknown"), (500, "unknown")])
def test_a_registry_is_asked_for_the_images(answer: int, state: str) -> None:
    with listening(registry(answer)) as address:
        plan = Plan.of("training", [f"image_prefix={address.removeprefix('http://')}/shop", "image_tag=0.1.0"])
        findings = list(doctor.of_images(plan, None))
    assert [finding.state for finding in findings] == [state] * 3


def test_an_image_on_a_node_needs_no_registry() -> None:
    plan = Plan.of("training", ["image_tag=0.1.0"])
    *_, train = doctor.of_images(plan, frozenset({"docker.io/library/two-tower-train:0.1.0"}))
    assert train.state == "works"
    *_, train = doctor.of_images(plan, None)
    assert (train.state, train.setting) == ("problem", "--set image_prefix=REGISTRY/FOLDER")


def test_storage_is_asked_from_this_machine(tmp_path) -> None:
    def refuse(releases: str) -> list[object]:
        raise InputError(f"{releases} cannot be reached.")

    def not_installed(releases: str) -> list[object]:
        raise ImportError("Install s3fs to access S3")

    assert doctor.of_storage("s3://shop", lambda _: [1, 2]).detail.endswith("has 2 releases")
    assert doctor.of_storage("s3://shop", refuse).state == "problem"
    assert doctor.of_storage("s3://shop", not_installed).state == "unknown"

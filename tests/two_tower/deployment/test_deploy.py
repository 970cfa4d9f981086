"""Deployments against a stand-in cluster, over HTTP, of releases that are real files."""

import json
import socket
from pathlib import Path

import pytest

from tests.schemas import check_inference_service
from tests.two_tower import parts
from tests.two_tower.cluster import TOKEN, Cluster, cluster
from two_tower.config import DeployConfig
from two_tower.deployment import deploy, kserve, kubernetes
from two_tower.deployment.smoke_test import requests_by_id
from two_tower.errors import InputError
from two_tower.releases import release
from two_tower.releases.manifest import ReleaseError

REQUESTS = [*requests_by_id(["u1", "u2"]), {"user_id": "u3", "k": 10, "features": {"group": "a"}}]
PATH = "/apis/serving.kserve.io/v1beta1/namespaces/shop/inferenceservices"


@pytest.fixture
def kube():
    with cluster() as running:
        yield running


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kserve, "POLL_INTERVAL", 0.01)
    monkeypatch.setattr(kubernetes, "FIRST_PAUSE", 0.01)


@pytest.fixture
def releases(tmp_path: Path) -> tuple[str, str, str]:
    """A folder under its URL, for pods need one, and two releases in it."""
    where = f"file://{tmp_path}/releases"
    made = [
        release.publish(where, [parts.write(tmp_path / name, prefix=name)], parts.manifest()) for name in ("a", "b")
    ]
    return where, *made


def settings(kube: Cluster, **changes) -> DeployConfig:
    given = {"deployer": "kserve", "namespace": "shop", "kubernetes_api": kube.address, "ready_timeout": 2}
    return DeployConfig(**(given | changes))


def test_the_first_release_creates_the_service_and_is_promoted(kube: Cluster, releases) -> None:
    where, first, _ = releases
    verdict = deploy.deploy(first, where, REQUESTS, settings(kube))
    assert (verdict.passed, verdict.details["action"], verdict.details["before"]) == (True, "promoted", None)
    assert kube.asked == {first: 3}
    assert kube.changes() == ["POST", "PATCH"]
    assert kube.serving() == (first, 100)
    assert release.current(where) == first


def test_the_next_release_gets_a_canary_share_until_it_has_answered(kube: Cluster, releases) -> None:
    where, first, second = releases
    deploy.deploy(first, where, REQUESTS, settings(kube))
    kube.log.clear()
    verdict = deploy.deploy(second, where, REQUESTS, settings(kube, canary_percent=25))
    assert verdict.details["action"] == "promoted" and verdict.details["before"] == first
    shares = [body["spec"]["predictor"].get("canaryTrafficPercent") for m, _, body in kube.log if m == "PATCH"]
    assert shares == [25, None]
    assert kube.asked[second] == 3 and kube.serving() == (second, 100)
    assert release.current(where) == second


def test_a_rerun_changes_nothing(kube: Cluster, releases) -> None:
    where, first, _ = releases
    deploy.deploy(first, where, REQUESTS, settings(kube))
    kube.log.clear()
    verdict = deploy.deploy(first, where, REQUESTS, settings(kube))
    assert verdict.passed and verdict.details["action"] == "unchanged"
    assert kube.changes() == []


def test_an_interrupted_promotion_is_finished(kube: Cluster, releases) -> None:
    """The cluster was told, the pointer was not: as after a step that was killed in between."""
    where, first, second = releases
    deploy.deploy(first, where, REQUESTS, settings(kube))
    deploy.deploy(second, where, REQUESTS, settings(kube))
    release.activate(where, first)
    assert deploy.deploy(second, where, REQUESTS, settings(kube)).details["action"] == "promoted"
    assert release.current(where) == second and kube.serving() == (second, 100)


@pytest.mark.parametrize(
    ("manner", "reason"),
    [
        ("fails", "3 of 3 requests: HTTP 500"),
        ("old", "answered by release another"),
        ("no store", "the online store failed"),
        ("unknown", "the online store knows 0 of 2 requested users"),
    ],
)
def test_a_failed_smoke_test_rolls_back(kube: Cluster, releases, manner: str, reason: str) -> None:
    where, first, second = releases
    deploy.deploy(first, where, REQUESTS, settings(kube))
    kube.answers[second] = manner
    verdict = deploy.deploy(second, where, REQUESTS, settings(kube))
    assert not verdict.passed and verdict.details["action"] == "rolled back"
    assert reason in verdict.reasons[0]
    assert verdict.reasons[-1] == f"Rolled back: {first} serves as before."
    assert kube.serving() == (second, 0), "the candidate's revision gets no traffic"
    assert release.current(where) == first

    del kube.answers[second]
    assert deploy.deploy(second, where, REQUESTS, settings(kube)).details["action"] == "promoted"
    assert kube.serving() == (second, 100)


def test_responses_that_are_too_slow_roll_back(kube: Cluster, releases) -> None:
    where, first, _ = releases
    verdict = deploy.deploy(first, where, REQUESTS, settings(kube, slowest_ms=0.001))
    assert "95 % of the responses took" in verdict.reasons[0]


def test_a_release_that_does_not_become_ready_is_rolled_back_with_what_the_cluster_says(
    kube: Cluster, releases
) -> None:
    where, first, second = releases
    deploy.deploy(first, where, REQUESTS, settings(kube))
    kube.never.add(second)
    verdict = deploy.deploy(second, where, REQUESTS, settings(kube, ready_timeout=1))
    assert "not ready within 1 s: Ready: RevisionFailed ImagePullBackOff" in verdict.reasons[0]
    assert "kubectl -n shop describe inferenceservice two-tower" in verdict.reasons[0]
    assert kube.serving() == (second, 0) and release.current(where) == first
    assert kube.asked[second] == 0


def test_a_first_release_that_fails_leaves_nothing_behind(kube: Cluster, releases) -> None:
    where, first, _ = releases
    kube.never.add(first)
    verdict = deploy.deploy(first, where, REQUESTS, settings(kube, ready_timeout=1))
    assert verdict.reasons[-1] == "Rolled back: no release serves as before."
    assert kube.objects == {} and release.current(where) is None


def test_a_service_that_was_applied_before_keeps_what_is_its_own(kube: Cluster, releases) -> None:
    where, first, _ = releases
    applied = kserve.inference_service(where, settings(kube), None)
    applied["spec"]["predictor"]["maxReplicas"] = 99
    applied["spec"]["predictor"]["containers"][0]["env"] = [{"name": "OURS", "value": "1"}]
    kube.put(f"{PATH}/two-tower", applied)
    kube.answers[first] = "fails"
    assert not deploy.deploy(first, where, REQUESTS, settings(kube)).passed
    assert kube.serving() == (first, 0), "what was applied is not deleted"
    del kube.answers[first]
    assert deploy.deploy(first, where, REQUESTS, settings(kube)).passed
    predictor = kube.objects[f"{PATH}/two-tower"]["spec"]["predictor"]
    assert predictor["maxReplicas"] == 99
    assert [e["name"] for e in predictor["containers"][0]["env"]] == ["OURS", "TWO_TOWER_RELEASE"]


def test_a_mode_without_canaries_is_refused(kube: Cluster, releases) -> None:
    where, first, _ = releases
    kube.mode = "Standard"
    kube.put(f"{PATH}/two-tower", kserve.inference_service(where, settings(kube), None))
    with pytest.raises(InputError, match="mode Standard, in which KServe does not split traffic"):
        deploy.deploy(first, where, REQUESTS, settings(kube))
    assert kube.changes() == []


def test_a_torn_release_is_never_staged(kube: Cluster, releases, tmp_path: Path) -> None:
    where, first, _ = releases
    (tmp_path / "releases" / first / "index.onnx").write_bytes(b"torn")
    with pytest.raises(ReleaseError, match=r"index\.onnx"):
        deploy.deploy(first, where, REQUESTS, settings(kube))
    assert kube.changes() == []


def test_an_api_server_that_restarts_is_waited_for(kube: Cluster, releases) -> None:
    where, first, _ = releases
    kube.failing.update({"GET": 2, "POST": 1})
    assert deploy.deploy(first, where, REQUESTS, settings(kube)).passed


@pytest.mark.parametrize(
    ("namespace", "token", "said"),
    [
        ("shop", "an-expired-token", "The token is expired"),
        ("forbidden", TOKEN, "the verb get: see deploy/kustomize/base/rbac.yaml"),
        ("absent", TOKEN, "Create the namespace, and install KServe"),
    ],
)
def test_a_refusal_says_what_to_do(kube: Cluster, tmp_path: Path, namespace: str, token: str, said: str) -> None:
    (tmp_path / "token").write_text(token)
    api = kubernetes.Kubernetes(kube.address, namespace, account=tmp_path)
    where = f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices"
    with pytest.raises(kubernetes.KubernetesError, match=said):
        api.create(where, {"metadata": {"name": "x"}}) if namespace == "absent" else api.get(where)


def test_an_address_where_nothing_listens(releases) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        config = DeployConfig(
            deployer="kserve", namespace="shop", kubernetes_api=f"http://127.0.0.1:{free.getsockname()[1]}"
        )
        with pytest.raises(InputError, match=r"no Kubernetes API server answers.*kubernetes_api"):
            deploy.deploy(releases[1], releases[0], REQUESTS, config)


def test_outside_of_a_cluster_one_has_to_be_named(releases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(InputError, match="kubectl proxy"):
        deploy.deploy(releases[1], releases[0], REQUESTS, DeployConfig(deployer="kserve", namespace="shop"))
    with pytest.raises(InputError, match="cannot read it"):
        deploy.deploy(releases[1], "/releases", REQUESTS, DeployConfig(deployer="kserve"))


def test_the_local_deployer_moves_the_pointer(releases) -> None:
    where, first, second = releases
    assert deploy.deploy(first, where, REQUESTS, DeployConfig()).details["action"] == "promoted"
    assert release.current(where) == first
    assert deploy.deploy(first, where, REQUESTS, DeployConfig()).details["action"] == "unchanged"
    assert deploy.deploy(second, where, REQUESTS, DeployConfig()).details["before"] == first
    assert release.current(where) == second


def test_the_page_says_what_was_done_and_why(kube: Cluster, releases) -> None:
    where, first, _ = releases
    kube.answers[first] = "fails"
    page = deploy.page(deploy.deploy(first, where, REQUESTS, settings(kube)))
    assert page.startswith("# Deploy: rolled back\n\n- 3 of 3 requests: HTTP 500")
    assert f"| release | {first} |" in page


def test_what_is_created_is_what_kserve_defines(kube: Cluster, releases, tmp_path: Path) -> None:
    where, first, _ = releases
    deploy.deploy(first, where, REQUESTS, settings(kube))
    for method, _, body in kube.log:
        if method == "POST":
            check_inference_service(json.loads(json.dumps(body)))

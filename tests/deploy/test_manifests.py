"""The manifests as a cluster would check them, and as its operators would read them."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonpatch
import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from serving.http import app
from serving.workers import supervisor
from tests.schemas import check, check_http_route, check_inference_service
from tests.two_tower.kserve_controller import KNATIVE_CONTAINER, KNATIVE_POD, SCALING
from two_tower import __version__
from two_tower.config import DeployConfig
from two_tower.deployment import manifests

DEPLOY = Path(__file__).parents[2] / "deploy"
KUSTOMIZE = DEPLOY / "kustomize"
OVERLAYS = sorted(path.name for path in (KUSTOMIZE / "overlays").iterdir())
KNATIVE = ("cpu", "gpu")
GRPC_GRACE = 5  # seconds, in serving/http/web.py
COMPOSE = DEPLOY / "compose" / "compose.yaml"
FOREIGN = ("ServiceMonitor", "PrometheusRule")  # not kinds of Kubernetes' own, without a schema here
POD = {"app.kubernetes.io/name": "two-tower", "app.kubernetes.io/component": "serving"}

Objects = dict[tuple[str, str], dict[str, Any]]


def objects(text: str) -> Objects:
    found = [one for one in yaml.safe_load_all(text) if one]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def built(folder: Path, made: Objects | None = None) -> Objects:
    """What kustomize builds of a folder, as far as this repository uses it."""
    file = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(file) <= {"apiVersion", "kind", "resources", "labels", "patches", "components"}
    made = dict(made or {})
    files = {name for name in file.get("resources", []) if name.endswith(".yaml")}
    assert files == {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    for name in file.get("resources", []):
        made |= objects((folder / name).read_text()) if name in files else built(folder / name)
    for label in file.get("labels", []):
        for one in made.values():
            one["metadata"]["labels"] = one["metadata"].get("labels", {}) | label["pairs"]
    for change in file.get("patches", []):
        key = change["target"]["kind"], change["target"]["name"]
        made[key] = jsonpatch.apply_patch(made[key], yaml.safe_load(change["patch"]))
    for name in file.get("components", []):
        made = built(folder / name, made)
    return made


def overlay(name: str) -> Objects:
    return built(KUSTOMIZE / "overlays" / name)


def pod_of(made: Objects) -> dict[str, Any]:
    """The pod of the service."""
    (spec,) = [one["spec"] for (kind, _), one in made.items() if kind in ("InferenceService", "Deployment")]
    pod: dict[str, Any] = spec["predictor"] if "predictor" in spec else spec["template"]["spec"]
    return pod


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_cluster_takes_each_object(name: str) -> None:
    for (kind, _), one in overlay(name).items():
        if kind == "InferenceService":
            check_inference_service(one)
        elif kind not in FOREIGN:
            check(one)


def test_a_typing_error_would_be_seen() -> None:
    budget = overlay("cpu")["PodDisruptionBudget", "two-tower"]
    budget["spec"]["maxUnavailble"] = budget["spec"].pop("maxUnavailable")
    with pytest.raises(Exception, match="maxUnavailble"):
        check(budget)


def test_a_typing_error_in_the_service_would_be_seen() -> None:
    service = overlay("cpu")["InferenceService", "two-tower"]
    service["spec"]["predictor"]["minReplica"] = 1
    with pytest.raises(Exception, match="minReplica"):
        check_inference_service(service)


def test_the_files_are_what_the_deploy_step_makes() -> None:
    releases, config = "s3://BUCKET/releases", DeployConfig()
    blue = ("two-tower-blue", releases, config, None)
    files = {
        "knative/inferenceservice.yaml": manifests.inference_service(releases, config, None),
        "overlays/standard/inferenceservice.yaml": manifests.standard_inference_service(*blue),
        "overlays/kubernetes/deployment.yaml": manifests.deployment(*blue),
    }
    for path, made in files.items():
        assert yaml.safe_load((KUSTOMIZE / path).read_text()) == made, path


@pytest.mark.parametrize("name", OVERLAYS)
def test_everything_selects_the_pods_of_the_service(name: str) -> None:
    made = overlay(name)
    labels = next(
        one["spec"]["template"]["metadata"]["labels"] if kind == "Deployment" else one["metadata"]["labels"]
        for (kind, _), one in made.items()
        if kind in ("InferenceService", "Deployment")
    )
    assert labels.items() >= POD.items()  # KServe copies the labels of an InferenceService to its pods
    assert made["PodDisruptionBudget", "two-tower"]["spec"]["selector"]["matchLabels"] == POD
    assert made["NetworkPolicy", "two-tower"]["spec"]["podSelector"]["matchLabels"] == POD
    service = made["Service", "two-tower-metrics"]
    assert service["spec"]["selector"] == POD
    monitored = made["ServiceMonitor", "two-tower"]["spec"]
    assert monitored["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitored["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    assert ("ServiceAccount", pod_of(made)["serviceAccountName"]) in made
    binding = made["RoleBinding", "two-tower-deployer"]
    assert ("Role", binding["roleRef"]["name"]) in made
    assert [("ServiceAccount", one["name"]) in made for one in binding["subjects"]] == [True]


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_network_policy_names_each_peer(name: str) -> None:
    policy = overlay(name)["NetworkPolicy", "two-tower"]["spec"]
    assert all(rule["from"] and rule["ports"] for rule in policy["ingress"])
    assert all(rule["to"] and rule["ports"] for rule in policy["egress"])


def test_the_component_of_gke_opens_the_metadata_server() -> None:
    made = built(KUSTOMIZE / "components" / "gke", overlay("cpu"))
    policy = made["NetworkPolicy", "two-tower"]
    check(policy)
    blocks = [peer["ipBlock"]["cidr"] for rule in policy["spec"]["egress"] for peer in rule["to"] if "ipBlock" in peer]
    assert {"169.254.169.254/32", "169.254.169.252/32"} <= set(blocks)


def test_the_component_of_the_gateway_routes_to_the_service_of_the_users() -> None:
    route = built(KUSTOMIZE / "components" / "gateway", overlay("kubernetes"))["HTTPRoute", "two-tower"]
    check_http_route(route)
    assert route["spec"]["rules"] == [{"backendRefs": [{"name": "two-tower", "port": 80}]}]
    route["spec"]["rules"][0]["backendRef"] = []
    with pytest.raises(Exception, match="backendRef"):
        check_http_route(route)


@pytest.mark.parametrize("name", KNATIVE)
def test_a_stock_knative_takes_the_pod(name: str) -> None:
    pod = {key: value for key, value in pod_of(overlay(name)).items() if key not in SCALING}
    assert set(pod) <= KNATIVE_POD and set(pod["containers"][0]) <= KNATIVE_CONTAINER


@pytest.mark.skipif(not shutil.which("kubectl"), reason="no kubectl to compare with")
@pytest.mark.parametrize("name", OVERLAYS)
def test_kubectl_builds_the_same(name: str) -> None:
    command = ["kubectl", "kustomize", str(KUSTOMIZE / "overlays" / name)]
    assert objects(subprocess.run(command, capture_output=True, text=True, check=True).stdout) == overlay(name)


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_service_is_limited_scaled_and_without_privileges(name: str) -> None:
    pod = pod_of(overlay(name))
    assert pod.get("minReplicas", 2) >= 2
    (container,) = pod["containers"]
    assert {"cpu", "memory"} <= set(container["resources"]["limits"])
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (name == "gpu")
    assert ("--device=cuda" in container["args"]) == (name == "gpu")
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] and security["runAsNonRoot"]
    assert security["allowPrivilegeEscalation"] is False and security["capabilities"] == {"drop": ["ALL"]}
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_pod_has_time_to_finish_its_requests(name: str) -> None:
    pod = pod_of(overlay(name))
    (container,) = pod["containers"]
    pause = 0 if name in KNATIVE else int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    grace = pod["timeout"] if name in KNATIVE else pod["terminationGracePeriodSeconds"]
    assert pause + app.GRACE + GRPC_GRACE < grace and pause + supervisor.ENDING < grace


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.yaml")), ids=lambda p: str(p.relative_to(DEPLOY)))
def test_images_carry_versions(path: Path) -> None:
    for image in re.findall(r"(?:image|value): (\S*(?:two-tower-\w+|redis|prometheus):\S+)", path.read_text()):
        tag = image.rpartition(":")[2]
        assert tag != "latest"
        if "two-tower" in image:
            assert tag.removesuffix("-cuda") == __version__, f"{path.name}: {image}"


def test_compose_takes_the_file() -> None:
    schema, file = get_builtin_schema("vendor.compose-spec"), yaml.safe_load(COMPOSE.read_text())
    jsonschema.validate(file, schema)
    file["services"]["serving"]["reed_only"] = True
    with pytest.raises(jsonschema.ValidationError, match="reed_only"):
        jsonschema.validate(file, schema)


def test_the_laptop_has_a_store_a_service_and_metrics() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    assert set(services) == {"redis", "features", "serving", "prometheus"}
    for name in ("features", "serving"):
        assert services[name]["read_only"] and services[name]["cap_drop"] == ["ALL"], name
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / "compose" / source).is_file(), source
    scraped = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text())
    (target,) = scraped["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target.partition(":")[0] in services

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

from tests.schemas import check, check_inference_service
from two_tower import __version__
from two_tower.config import DeployConfig
from two_tower.deployment.kserve import inference_service
from two_tower.deployment.kubernetes import _VERBS

DEPLOY = Path(__file__).parents[2] / "deploy"
BASE = DEPLOY / "kustomize" / "base"
OVERLAY = DEPLOY / "kustomize" / "overlays"
OVERLAYS = sorted(path.name for path in OVERLAY.iterdir())
COMPOSE = DEPLOY / "compose" / "compose.yaml"
FOREIGN = ("InferenceService", "ServiceMonitor", "PrometheusRule")  # not kinds of Kubernetes' own


def objects(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    found = [one for one in yaml.safe_load_all(text) if one]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def base() -> dict[tuple[str, str], dict[str, Any]]:
    names = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    assert sorted(names) == sorted(p.name for p in BASE.glob("*.yaml") if p.name != "kustomization.yaml")
    return {key: one for name in names for key, one in objects((BASE / name).read_text()).items()}


def built(overlay: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What kustomize builds of an overlay, as far as this repository uses it: the base, its label, JSON patches."""
    asked = yaml.safe_load((OVERLAY / overlay / "kustomization.yaml").read_text())
    label = yaml.safe_load((BASE / "kustomization.yaml").read_text())["labels"]
    assert set(asked) == {"apiVersion", "kind", "resources", "patches"} and asked["resources"] == ["../../base"]
    (label,) = [one.pop("pairs") for one in label if set(one) == {"pairs"}]
    made = base()
    for one in made.values():
        one["metadata"]["labels"] = one["metadata"].get("labels", {}) | label
    for change in asked["patches"]:
        key = change["target"]["kind"], change["target"]["name"]
        made[key] = jsonpatch.apply_patch(made[key], yaml.safe_load(change["patch"]))
    return made


@pytest.mark.parametrize("key", [key for key in base() if key[0] not in FOREIGN], ids=lambda key: key[0])
def test_kubernetes_takes_each_object(key: tuple[str, str]) -> None:
    check(base()[key])


def test_a_typing_error_would_be_seen() -> None:
    budget = base()["PodDisruptionBudget", "two-tower"]
    budget["spec"]["maxUnavailble"] = budget["spec"].pop("maxUnavailable")
    with pytest.raises(Exception, match="maxUnavailble"):
        check(budget)


def test_kserve_takes_the_service() -> None:
    service = base()["InferenceService", "two-tower"]
    check_inference_service(service)
    service["spec"]["predictor"]["minReplica"] = 1
    with pytest.raises(Exception, match="minReplica"):
        check_inference_service(service)


def test_the_base_is_what_the_deploy_step_makes() -> None:
    assert base()["InferenceService", "two-tower"] == inference_service("s3://BUCKET/releases", DeployConfig(), None)


def test_everything_selects_the_pods_of_the_service() -> None:
    there, label = base(), {"serving.kserve.io/inferenceservice": "two-tower"}
    assert there["PodDisruptionBudget", "two-tower"]["spec"]["selector"]["matchLabels"] == label
    assert there["NetworkPolicy", "two-tower"]["spec"]["podSelector"]["matchLabels"] == label
    assert there["Service", "two-tower-metrics"]["spec"]["selector"] == label
    monitored = there["ServiceMonitor", "two-tower"]["spec"]
    service = there["Service", "two-tower-metrics"]
    assert monitored["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitored["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    account = there["InferenceService", "two-tower"]["spec"]["predictor"]["serviceAccountName"]
    assert ("ServiceAccount", account) in there


def test_the_role_allows_what_the_deploy_step_does() -> None:
    (rule,) = base()["Role", "two-tower-deployer"]["rules"]
    assert set(rule["verbs"]) == set(_VERBS.values())
    assert rule["resources"] == ["inferenceservices"]


@pytest.mark.skipif(not shutil.which("kubectl"), reason="no kubectl to compare with")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubectl_builds_the_same(overlay: str) -> None:
    command = ["kubectl", "kustomize", str(OVERLAY / overlay)]
    assert objects(subprocess.run(command, capture_output=True, text=True, check=True).stdout) == built(overlay)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_builds_to_what_a_cluster_takes(overlay: str) -> None:
    made = built(overlay)
    assert set(made) == set(base())
    for (kind, _), one in made.items():
        if kind == "InferenceService":
            check_inference_service(one)
        elif kind not in FOREIGN:
            check(one)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_service_is_limited_scaled_and_without_privileges(overlay: str) -> None:
    predictor = built(overlay)["InferenceService", "two-tower"]["spec"]["predictor"]
    assert (predictor["scaleMetric"], predictor["minReplicas"] >= 2) == ("concurrency", True)
    (container,) = predictor["containers"]
    assert {"cpu", "memory"} <= set(container["resources"]["limits"])
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (overlay == "gpu")
    assert ("--device=cuda" in container["args"]) == (overlay == "gpu")
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] and security["runAsNonRoot"]
    assert security["allowPrivilegeEscalation"] is False and security["capabilities"] == {"drop": ["ALL"]}
    assert {"readinessProbe", "livenessProbe"} <= set(container)


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

import ssl
from pathlib import Path

import pytest
import yaml

from pipelines.kubeflow.kube_access import KubeAccess, NotAnsweredError
from tests.pipelines.kubeflow.test_doctor_cluster import kubernetes
from two_tower.errors import InputError


def configure(path: Path, server: str, **user: str) -> None:
    """A kubeconfig file with one context."""
    named = {
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
    }
    path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "x", **named}))


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config"
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    return path


def test_a_kubeconfig_gives_address_namespace_and_token(kubeconfig: Path) -> None:
    with kubernetes({}, token="secret") as address:
        configure(kubeconfig, address, token="secret")
        access = KubeAccess.of("")
        assert (access.address, access.namespace, access.token, access.context) == (address, "shop", "secret", None)
        assert (access.get("/version") or {})["gitVersion"] == "v1.36.2"
        assert access.get("/apis/nope") is None
        with pytest.raises(NotAnsweredError, match="GET /version: HTTP 401 refused"):
            KubeAccess(address, "shop").get("/version")
    with pytest.raises(NotAnsweredError, match="no answer from"):
        access.get("/version")


def test_https_is_verified(kubeconfig: Path) -> None:
    configure(kubeconfig, "https://127.0.0.1:1", token="secret")
    context = KubeAccess.of("").context
    assert context is not None and context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname


def test_the_account_of_a_pod(kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("token", "of-the-pod"), ("namespace", "shop\n")):
        (tmp_path / name).write_text(text)
    (tmp_path / "ca.crt").write_bytes(Path(ssl.get_default_verify_paths().cafile or "").read_bytes())
    monkeypatch.setattr("pipelines.kubeflow.kube_access.ACCOUNT", tmp_path)
    module = "kubernetes.config.incluster_config"
    monkeypatch.setattr(f"{module}.SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(f"{module}.SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    access = KubeAccess.of("")
    assert (access.address, access.namespace, access.is_pod) == ("https://10.0.0.1:443", "shop", True)


def test_without_a_configuration_the_message_names_the_proxy(kubeconfig: Path) -> None:
    with pytest.raises(InputError, match="kubectl proxy"):
        KubeAccess.of("")
    assert KubeAccess.of("http://localhost:8001/").address == "http://localhost:8001"

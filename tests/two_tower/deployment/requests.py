"""Questions of the smoke test, and the settings of a deployment to the stand-in cluster."""

from contextlib import AbstractContextManager

from tests.two_tower.cluster import Cluster
from two_tower.config import DeployConfig
from two_tower.deployment.questions import Questions

ROW = {"age": None, "visits": 2, "member": True, "joined": None, "recent": ["i1"], "taste": None, "seen_items": ["i2"]}
QUESTIONS = Questions(users=["u1", "u2"], rows=[{"group": "a", **ROW}, {"group": "b", **ROW}])
ASKED = 2 + 2 + 1  # by id, by features, the unknown user


def settings(kube: Cluster, **changes) -> DeployConfig:
    patient = {"ready_timeout": 30, "slowest_ms": 60_000}  # other work may share the machine
    defaults = {"deployer": "kserve", "namespace": "shop", "kubernetes_api": kube.address, **patient}
    return DeployConfig(**(defaults | changes))


def no_service(releases: str, release: str) -> AbstractContextManager[tuple[str, str]]:
    raise AssertionError("the deployer of a cluster starts no service")

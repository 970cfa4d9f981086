"""The smoke test's requests and the settings of a deployment to the stand-in cluster."""

from tests.two_tower.cluster import Cluster
from two_tower.config import DeployConfig
from two_tower.deployment.smoke_test import requests_by_id

REQUESTS = [*requests_by_id(["u1", "u2"]), {"user_id": "u3", "k": 10, "features": {"group": "a"}}]


def settings(kube: Cluster, **changes) -> DeployConfig:
    defaults = {"deployer": "kserve", "namespace": "shop", "kubernetes_api": kube.address, "ready_timeout": 2}
    return DeployConfig(**(defaults | changes))

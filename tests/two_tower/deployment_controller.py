"""A stand-in for Kubernetes' Deployment controller.

The fields of the status, and when a rollout is complete, are those of the documentation of Kubernetes 1.32 ("Complete
Deployment"); not compared with a real cluster. A rolling update keeps the old pods until all new ones are available,
which is the slowest that `maxUnavailable` allows.
"""

from dataclasses import dataclass
from typing import Any

LOOKS = 8  # requests until the pods of a new template are ready


@dataclass
class Rollout:
    """serving: template of the pods that respond. newest: that of the Deployment. looks: since it changed."""

    serving: dict[str, Any] | None = None
    newest: dict[str, Any] | None = None
    looks: int = 0

    def reconcile(self, deployment: dict[str, Any], starts: Any) -> None:
        """One pass of the controller, which sets the status. starts: whether the pods of a template become ready."""
        template, wanted = deployment["spec"]["template"], deployment["spec"].get("replicas", 1)
        if template != self.newest:
            self.newest, self.looks = template, 0
            return  # the status is that of the generation before
        self.looks += 1
        done = self.looks > LOOKS and starts(template["spec"])
        if done:
            self.serving = template
        surge = 0 if done or self.serving is None else 1
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": wanted + surge,
            "updatedReplicas": wanted if done or self.serving is None else 1,
            "availableReplicas": wanted if self.serving else 0,
            "conditions": [],
        }
        if not self.serving:
            text = "Deployment does not have minimum availability."
            status["conditions"] = [
                {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable", "message": text}
            ]
        deployment["status"] = status

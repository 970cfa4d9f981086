"""Waiting for a staged release."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

POLL_INTERVAL = 1.0  # seconds


class NotReadyError(Exception):
    """A staged release did not become ready. The message quotes the reason."""


def wait(reason: Callable[[], str], timeout: float, subject: str, next_step: str) -> None:
    """Wait until there is no reason left. Each new reason is printed to standard error.

    Args:
        reason: Returns why the subject is not ready; empty if it is.
        timeout: Seconds to wait.
        subject: The thing that is waited for, for the message.
        next_step: Sentence that tells the reader what to do.

    Raises:
        NotReadyError: A reason is left after the time-out.
    """
    deadline = time.monotonic() + timeout
    before = ""
    while text := reason():
        if time.monotonic() >= deadline:
            raise NotReadyError(f"{subject} was not ready within {timeout:g} s: {text}. {next_step}")
        if text != before:
            sys.stderr.write(f"deploy: waiting: {text}\n")
            before = text
        time.sleep(POLL_INTERVAL)


def rollout(deployment: Mapping[str, Any]) -> str:
    """Return why not all pods of a Deployment run its newest template and are available; empty if they do."""
    wanted, status = deployment["spec"].get("replicas", 1), deployment.get("status", {})
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return "its last change has not been observed yet"
    updated, total, available = (status.get(f"{word}eplicas", 0) for word in ("updatedR", "r", "availableR"))
    if updated == total == available == wanted > 0:
        return ""
    old = [f"{total - updated} old pods still respond"] if total > updated else []
    failing = [
        f"{one['type']} {one['status']}: {one.get('reason', '')} {one.get('message', '')}".strip()
        for one in status.get("conditions", [])
        if one["status"] == ("True" if one["type"] == "ReplicaFailure" else "False")
    ]
    return "; ".join([f"{min(updated, available)} of {wanted} pods are available", *old, *failing])

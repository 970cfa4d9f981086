"""Metrics of a training run: TensorBoard event files and, if configured, an MLflow server."""

import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tensorboardX import SummaryWriter

from two_tower.config import TrainConfig
from two_tower.errors import InputError
from two_tower.http_json import call

EXPERIMENT = "two-tower"


class Tracking:
    """Writes scalars by name and step. MLflow is called over its REST API, without its Python package."""

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        """Open the event files, and start an MLflow run.

        Args:
            folder: Folder for the event files.
            config: Settings; `mlflow` is the address of the server, or empty.

        Raises:
            InputError: The server does not respond, or refuses a request.
        """
        self.writer = SummaryWriter(str(folder))
        self.mlflow = _MLflow(config) if config.mlflow else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close()
        if self.mlflow:
            self.mlflow.end("FINISHED" if kind is None else "FAILED")

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Write values by name."""
        for name, value in values.items():
            self.writer.add_scalar(name.replace("@", "_"), value, step)
        self.writer.flush()
        if self.mlflow:
            self.mlflow.log(step, values)


class _MLflow:
    """One run on the tracking server.

    Source: https://mlflow.org/docs/latest/rest-api.html
    """

    def __init__(self, config: TrainConfig) -> None:
        self.root = config.mlflow.rstrip("/") + "/api/2.0/mlflow/"
        response = self._request("GET", f"experiments/get-by-name?experiment_name={EXPERIMENT}", missing=True)
        experiment = (
            response["experiment"]["experiment_id"]
            if response
            else self._request("POST", "experiments/create", {"name": EXPERIMENT})["experiment_id"]
        )
        run = self._request("POST", "runs/create", {"experiment_id": experiment, "start_time": _now()})
        self.run = run["run"]["info"]["run_id"]
        params = [{"key": key, "value": str(value)} for key, value in asdict(config).items()]
        self._request("POST", "runs/log-batch", {"run_id": self.run, "params": params})

    def log(self, step: int, values: dict[str, float]) -> None:
        metrics = [
            {"key": key.replace("@", "_"), "value": value, "timestamp": _now(), "step": step}
            for key, value in values.items()
        ]
        self._request("POST", "runs/log-batch", {"run_id": self.run, "metrics": metrics})

    def end(self, status: str) -> None:
        self._request("POST", "runs/update", {"run_id": self.run, "status": status, "end_time": _now()})

    def _request(self, method: str, path: str, body: Any = None, *, missing: bool = False) -> dict[str, Any]:
        """Return the body of the response; {} for a 404 if the resource may be `missing`."""
        try:
            response = call(method, self.root + path, body)
        except OSError as error:
            raise InputError(
                f"mlflow: no response from {self.root}: {error}. Correct mlflow=URL, or leave it empty."
            ) from error
        if response.status == 404 and missing:
            return {}
        if response.status >= 300:
            raise InputError(f"mlflow: {method} {path} was refused with {response.status}: {str(response.body)[:200]}")
        return dict(response.body)


def _now() -> int:
    return int(time.time() * 1000)

"""Where a run's figures go while it trains: TensorBoard's event files, and an MLflow server where one is named."""

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
    """Scalars by name and step. MLflow is spoken to over its REST interface, without a package of its own."""

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        """folder: takes the event files. Raises InputError where `config.mlflow` does not answer."""
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
        for name, value in values.items():
            self.writer.add_scalar(name.replace("@", "_"), value, step)
        self.writer.flush()
        if self.mlflow:
            self.mlflow.log(step, values)


class _MLflow:
    """One run at the tracking server, https://mlflow.org/docs/latest/rest-api.html."""

    def __init__(self, config: TrainConfig) -> None:
        self.root = config.mlflow.rstrip("/") + "/api/2.0/mlflow/"
        found = self._ask("GET", f"experiments/get-by-name?experiment_name={EXPERIMENT}", missing=True)
        experiment = (
            found["experiment"]["experiment_id"]
            if found
            else self._ask("POST", "experiments/create", {"name": EXPERIMENT})["experiment_id"]
        )
        run = self._ask("POST", "runs/create", {"experiment_id": experiment, "start_time": _now()})
        self.run = run["run"]["info"]["run_id"]
        params = [{"key": key, "value": str(value)} for key, value in asdict(config).items()]
        self._ask("POST", "runs/log-batch", {"run_id": self.run, "params": params})

    def log(self, step: int, values: dict[str, float]) -> None:
        metrics = [
            {"key": key.replace("@", "_"), "value": value, "timestamp": _now(), "step": step}
            for key, value in values.items()
        ]
        self._ask("POST", "runs/log-batch", {"run_id": self.run, "metrics": metrics})

    def end(self, status: str) -> None:
        self._ask("POST", "runs/update", {"run_id": self.run, "status": status, "end_time": _now()})

    def _ask(self, method: str, path: str, body: Any = None, *, missing: bool = False) -> dict[str, Any]:
        """The server's answer; {} for what is not there, where it may be `missing`."""
        try:
            reply = call(method, self.root + path, body)
        except OSError as error:
            raise InputError(f"mlflow: no answer from {self.root}: {error}. Correct mlflow=URL or leave it.") from error
        if reply.status == 404 and missing:
            return {}
        if reply.status >= 300:
            raise InputError(f"mlflow: {method} {path} was refused with {reply.status}: {str(reply.body)[:200]}")
        return dict(reply.body)


def _now() -> int:
    return int(time.time() * 1000)

"""What TensorBoard finds in the model's folder, and what an MLflow server is told, over HTTP."""

import struct
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tensorboardX.proto.event_pb2 import Event

from tests.two_tower.cluster import Handler, listening
from tests.two_tower.worlds import checkerboard
from two_tower.config import TrainConfig
from two_tower.errors import InputError
from two_tower.training.train import train

SMALL = {"dim": 8, "hidden": 8, "epochs": 2, "device": "cpu"}


def scalars(folder: Path) -> dict[str, list[float]]:
    """The values of each name in the event files: records of a length, its checksum, the event, its checksum."""
    found: dict[str, list[float]] = {}
    for file in folder.glob("events.out.tfevents.*"):
        data = file.read_bytes()
        while data:
            size = struct.unpack("<Q", data[:8])[0]
            event = Event.FromString(data[12 : 12 + size])
            data = data[size + 16 :]
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(value.simple_value)
    return found


def test_tensorboard_finds_every_epoch(tmp_path):
    result = train(checkerboard(), TrainConfig(**SMALL), tmp_path)
    found = scalars(tmp_path / "tensorboard")
    assert found["epoch/loss"] == pytest.approx([epoch["loss"] for epoch in result["history"]])
    assert len(found["epoch/recall_20"]) == 2 and found["step/loss"]


@pytest.fixture
def server():
    heard: list[tuple[str, dict]] = []

    class MLflow(Handler):
        def do_GET(self) -> None:  # noqa: N802
            self.answer(404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})

        def do_POST(self) -> None:  # noqa: N802
            call = urlsplit(self.path).path.removeprefix("/api/2.0/mlflow/")
            heard.append((call, self.body()))
            answers = {"experiments/create": {"experiment_id": "7"}, "runs/create": {"run": {"info": {"run_id": "r"}}}}
            self.answer(200, answers.get(call, {}))

    with listening(MLflow) as address:
        yield address, heard


def test_mlflow_hears_settings_figures_and_the_end(tmp_path, server):
    address, heard = server
    result = train(checkerboard(), TrainConfig(**SMALL, mlflow=address), tmp_path)
    calls = [call for call, _ in heard]
    assert calls[:3] == ["experiments/create", "runs/create", "runs/log-batch"] and calls[-1] == "runs/update"
    assert {"key": "dim", "value": "8"} in heard[2][1]["params"]
    figures = [metric for _, body in heard for metric in body.get("metrics", [])]
    recalls = [m["value"] for m in figures if m["key"] == "epoch/recall_20"]
    assert recalls == [epoch["recall@20"] for epoch in result["history"]]
    assert heard[-1][1]["status"] == "FINISHED"


def test_a_server_that_does_not_answer_is_named(tmp_path):
    with pytest.raises(InputError, match=r"mlflow: no response from http://127.0.0.1:9"):
        train(checkerboard(), TrainConfig(**SMALL, mlflow="http://127.0.0.1:9"), tmp_path)

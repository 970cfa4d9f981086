"""A process that waits for the shards of another one."""

import subprocess
import sys
import threading
from pathlib import Path

import torch

from tests.two_tower.worlds import checkerboard
from two_tower.config import TrainConfig
from two_tower.data.parts import Parts
from two_tower.training.distributed import ProcessGroup
from two_tower.training.streaming import source
from two_tower.training.streaming.source import Streamed, opened

ROOT = Path(__file__).parents[4]
WRITER = """
import sys, time
from pathlib import Path
from two_tower.training.streaming.source import writer_lock
with writer_lock(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


def waiting(folder: Path, scratch: Path) -> tuple[threading.Thread, list[BaseException]]:
    """A thread that waits for what a writer never writes, and what it raised."""
    raised = []

    def wait() -> None:
        data = Streamed(Parts(folder), scratch, 1, writes=False)
        try:
            data.validation(data.fit(), torch.device("cpu"))
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=wait, daemon=True)  # of a fault, the thread waits for ever
    thread.start()
    return thread, raised


def test_a_process_whose_writer_dies_stops_waiting(tmp_path):
    checkerboard(users=20, items=40, per_user=16).write(tmp_path / "pulled")
    command = [sys.executable, "-c", WRITER, str(tmp_path / "scratch")]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)})
    try:
        assert writer.stdout.readline() == "locked\n"
        thread, raised = waiting(tmp_path / "pulled", tmp_path / "scratch")
        thread.join(3)
        assert thread.is_alive() and not raised, "while the writer lives, it waits"
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
    thread.join(20)
    assert not thread.is_alive() and "ended before it wrote" in str(raised[0])


def test_a_writer_that_removed_its_folder_has_ended(tmp_path):
    checkerboard(users=20, items=40, per_user=16).write(tmp_path / "pulled")
    thread, raised = waiting(tmp_path / "pulled", tmp_path / "none")
    thread.join(20)
    assert not thread.is_alive() and "ended before it wrote" in str(raised[0])


def test_the_writer_holds_the_lock_while_its_data_are_open(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(source.tempfile, "tempdir", None)
    checkerboard(users=20, items=40, per_user=16).write(tmp_path / "pulled")
    config = TrainConfig(stream="on", stream_megabytes=1)
    with opened(tmp_path / "pulled", config, torch.device("cpu"), ProcessGroup()) as data:
        assert not source._writer_ended(data.scratch)
    assert source._writer_ended(data.scratch) and not data.scratch.exists()

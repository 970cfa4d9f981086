"""Every command of docs/tutorial.md, in order, as a reader types them."""

import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
RAW = Path(os.environ.get("TWO_TOWER_DATA", Path(__file__).parents[3] / "shared" / "data")) / "ml-100k"


def two_free_ports() -> int:
    """The first of two neighbours: the service takes the next one for gRPC."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first, suppress(OSError):
            port = int(first.getsockname()[1])
            with socket.create_server(("127.0.0.1", port + 1)):
                return port


@pytest.mark.skipif(not RAW.is_dir(), reason="no raw files of MovieLens 100K in $TWO_TOWER_DATA/ml-100k")
def test_the_commands_of_the_tutorial_do_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "ml-100k").mkdir()
    for name in ("u.user", "u.item", "u.data"):
        (tmp_path / "ml-100k" / name).write_bytes((RAW / name).read_bytes())
    port = str(two_free_ports())
    blocks = re.findall(r"```sh\n(.*?)```", TUTORIAL.read_text(), flags=re.DOTALL)
    script = "\n".join(blocks).replace("8080", port)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    told = subprocess.run(
        [shutil.which("bash"), "-euc", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-3000:]
    assert told.stdout.count("promoted: release") == 2
    answers = re.findall(r'\{"items":.*?"fallback":null\}', told.stdout)
    assert len(answers) == 2, told.stdout[-2000:]
    assert all(answer.count('"item_id"') == 5 for answer in answers)
    assert "computed again films" in told.stdout
    assert "addresses: nothing to learn from" in told.stdout

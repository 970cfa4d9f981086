"""Every command of docs/tutorial.md, in order, as a reader types them who has the raw files and nothing else."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.raw import real
from tests.serving.running import free_ports

pytestmark = pytest.mark.slow

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
OTHER_DATA = r"## The same from one table|## Without times"  # headings after which the data set is another one


def commands() -> list[str]:
    """The lines that a reader types: for the films of three tables, the shop of one, and pairs without times."""
    parts = re.split(OTHER_DATA, TUTORIAL.read_text())
    assert len(parts) == 3
    return ["\n".join(re.findall(r"```sh\n(.*?)```", part, flags=re.DOTALL)) for part in parts]


def typed(script: str, folder: Path) -> str:
    """What a shell prints that runs the script in a folder; it has to end well."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    told = subprocess.run(
        [shutil.which("bash"), "-euc", script],
        cwd=folder,
        env={**os.environ, "PATH": path, "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=2400,
    )
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-3000:]
    return told.stdout


def recommended(told: str) -> list[str]:
    """The titles that `recommend` shows."""
    return re.findall(r"│ \d+ +│ \w+ +│ (\S[^│]*?) +│ -?\d\.\d{4} │", told)


def test_films_from_three_tables(tmp_path: Path) -> None:
    raw = real("ml-100k")
    (tmp_path / "ml-100k").mkdir()
    for name in ("u.user", "u.item", "u.data"):
        (tmp_path / "ml-100k" / name).write_bytes((raw / name).read_bytes())
    told = typed(commands()[0].replace("8080", str(free_ports())), tmp_path)
    assert told.count("promoted: release") == 2
    assert "URLs or paths: not useful as a feature" in told
    titles, films = recommended(told), (raw / "u.item").read_text("latin-1").lower()
    assert len(titles) == 5
    assert all(word in films for title in titles for word in title.lower().split())
    answers = re.findall(r'\{"items":.*?"fallback":null\}', told)
    assert len(answers) == 2, told[-2000:]
    assert all(answer.count('"item_id"') == 5 for answer in answers)
    assert "refreshed the data of films" in told


def test_a_shop_from_one_table(tmp_path: Path) -> None:
    shutil.copy(real("online-retail") / "online_retail.csv.gz", tmp_path)
    told = typed(commands()[1], tmp_path)
    assert told.count("promoted: release") == 1
    assert "interactions that do not match --where" in told
    titles = recommended(told)
    assert len(set(titles)) == 5, told[-2000:]
    assert sum(len(title.split()) > 1 for title in titles) >= 3, "names of goods, not codes"
    assert "fallback" not in told


def test_pairs_without_times(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)  # each user takes 10 of the 15 items of one of four groups
    pairs = [f"u{u},i{4 * n + u % 4}\n" for u in range(200) for n in rng.permutation(15)[:10]]
    (tmp_path / "pairs.csv").write_text("user_id,item_id\n" + "".join(pairs))
    told = typed(commands()[2], tmp_path)
    assert "the interactions have no times, so the split is a random holdout" in told
    assert "Per-user holdout, no times" in told
    assert told.count("promoted: release") == 1
    items = re.findall(r"│ \d+ +│ i(\d+) +│ -?\d\.\d{4} │", told)
    assert len(items) == 5 and sum(int(item) % 4 == 1 for item in items) >= 4, "items of the user's own group"
    assert not any(f"u1,i{item}\n" in pairs for item in items)

from pathlib import Path

import pytest

from two_tower.memory import available

MEMINFO = "MemTotal: 9000 kB\nMemAvailable: 5000 kB\nSwapFree: 0 kB\n"
V1 = "memory/memory.{}_in_bytes"


def laid_out(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 5000 * 1024),
        ({"memory.max": "max", "memory.current": "70"}, 5000 * 1024),
        ({"memory.max": "100", "memory.current": "70", "memory.stat": "anon 50\ninactive_file 20"}, 50),
        ({V1.format("limit"): "100", V1.format("usage"): "70", "memory/memory.stat": "total_inactive_file 5"}, 35),
        ({"memory.max": "100", "memory.current": "120"}, 0),
        ({"memory.max": str(2**60), "memory.current": "70"}, 5000 * 1024),
    ],
    ids=["no cgroup", "no limit", "v2", "v1", "over", "more than the machine"],
)
def test_the_least_of_the_machine_and_the_limit(tmp_path, files, expected):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(MEMINFO)
    assert available(laid_out(tmp_path / "cgroup", files), meminfo) == expected

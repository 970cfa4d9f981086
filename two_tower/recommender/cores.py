"""Number of cores that a process may use: the quota of its container, not the cores of the machine."""

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def cores(root: Path = CGROUPS, workers: int = 1) -> int:
    """Number of whole cores, at least 1: the smaller of the CPU quota (cgroup v2 or v1) and the process's affinity.

    Args:
        root: where the cgroup file system is mounted.
        workers: number of processes that share the cores; the result is the share of one.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = _quota_v2(root / "cpu.max") or _quota_v1(root / "cpu")
    return max(1, (min(allowed, int(quota)) if quota else allowed) // workers)


def _quota_v2(path: Path) -> float | None:
    words = _words(path)
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0] != "max" else None


def _quota_v1(folder: Path) -> float | None:
    quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
    return int(quota[0]) / int(period[0]) if quota and period and int(quota[0]) > 0 else None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:  # another version of cgroups, or no cgroups
        return []

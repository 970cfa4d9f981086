"""The memory available to this process, within the limit of its container."""

from pathlib import Path

CGROUPS, MEMINFO = Path("/sys/fs/cgroup"), Path("/proc/meminfo")


def available(cgroups: Path = CGROUPS, meminfo: Path = MEMINFO) -> int:
    """Return bytes: the smaller of the machine's free memory and what the cgroup limit (v2 or v1) leaves."""
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    machine = int(lines["MemAvailable"].split()[0]) * 1024
    for limit_file, usage_file, reclaimable in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, usage = _words(cgroups / limit_file), _words(cgroups / usage_file)
        if limit and usage and limit[0] != "max":
            stat = _words((cgroups / usage_file).with_name("memory.stat"))
            cached = dict(zip(stat[::2], stat[1::2], strict=False)).get(reclaimable, "0")
            return max(0, min(machine, int(limit[0]) - int(usage[0]) + int(cached)))
    return machine


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:  # another version of cgroups, or none
        return []

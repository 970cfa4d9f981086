"""How much memory this process may still take: a container's limit, not the machine's."""

from pathlib import Path

CGROUPS, MEMINFO = Path("/sys/fs/cgroup"), Path("/proc/meminfo")


def available(cgroups: Path = CGROUPS, meminfo: Path = MEMINFO) -> int:
    """Bytes: the least of what the machine has left and what the limit of cgroup v2 or v1 leaves."""
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    machine = int(lines["MemAvailable"].split()[0]) * 1024
    for limit, used, reclaimable in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        most, now = _words(cgroups / limit), _words(cgroups / used)
        if most and now and most[0] != "max":
            stat = _words((cgroups / used).with_name("memory.stat"))
            files = dict(zip(stat[::2], stat[1::2], strict=False)).get(reclaimable, "0")
            return max(0, min(machine, int(most[0]) - int(now[0]) + int(files)))
    return machine


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:  # another version of cgroups, or none
        return []

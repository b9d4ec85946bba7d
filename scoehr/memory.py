"""What memory this process has used, and may still take."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path

#: Files of a container's limit, of what it has taken and of its parts: control groups, version 2
#: and 1.
CONTAINERS = [
    [Path("/sys/fs/cgroup") / name for name in names]
    for names in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    )
]


#: What the system says of this process (a child's resource usage begins with its parent's).
STATUS = Path("/proc/self/status")


def peak_memory() -> int:
    """Peak memory of this process in bytes."""
    if STATUS.exists():
        return _stated(STATUS, "VmHWM")
    scale = 1 if platform.system() == "Darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def free_memory() -> int:
    """Bytes that this process may still take: the least of machine, container and limits."""
    left = [os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    machine = Path("/proc/meminfo")
    if machine.exists():  # free, or held by files that can be read again
        left = [_stated(machine, "MemAvailable")]
    left += [room for files in CONTAINERS if (room := _container(*files)) is not None]
    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    if most != resource.RLIM_INFINITY:
        left.append(most - _stated(STATUS, "VmSize"))
    return max(0, min(left))


def _stated(path: Path, name: str) -> int:
    """The bytes that a line of a file states in KiB."""
    line = next(line for line in path.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def _container(limit: Path, used: Path, parts: Path) -> int | None:
    """Bytes that a control group leaves, if there is one with a limit.

    Files that can be read again are free.
    """
    if (
        not all(path.exists() for path in (limit, used, parts))
        or limit.read_text().strip() == "max"
    ):
        return None
    lines = [line.split() for line in parts.read_text().splitlines()]
    again = max(int(value) for name, value in lines if name.endswith("inactive_file"))
    return int(limit.read_text()) - int(used.read_text()) + again

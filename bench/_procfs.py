"""What Linux knows of a process tree: CPU to the nanosecond, and memory with shared pages split."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

PROC = Path("/proc")


def tree(*roots: int) -> list[int]:
    """These processes and all below them."""
    found, rest = [], list(roots)
    while rest:
        pid = rest.pop()
        found.append(pid)
        with contextlib.suppress(OSError):
            for task in (PROC / str(pid) / "task").iterdir():
                rest += map(int, (task / "children").read_text().split())
    return found


def cpu_s(*roots: int) -> float:
    """CPU seconds of all living threads of the tree, user and system."""
    nanoseconds = 0
    for pid in tree(*roots):
        with contextlib.suppress(OSError):
            for task in (PROC / str(pid) / "task").iterdir():
                with contextlib.suppress(OSError):
                    nanoseconds += int((task / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9


def all_cpu_s(*roots: int) -> float:
    """CPU seconds of the tree, with those of children that ended; in steps of 10 ms."""
    ticks = 0
    for pid in tree(*roots):
        with contextlib.suppress(OSError):
            fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def pss_mb(*roots: int) -> float:
    """Proportional resident memory of the tree, in MB of 10^6 bytes."""
    kilobytes = 0
    for pid in tree(*roots):
        with contextlib.suppress(OSError):
            for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    kilobytes += int(line.split()[1])
    return kilobytes * 1024 / 1e6


def size_mb(folder: Path) -> float:
    """What the files of a flat folder take, in whole pages, as on tmpfs."""
    pages = sum(-(-path.stat().st_size // 4096) for path in folder.iterdir() if path.is_file())
    return pages * 4096 / 1e6


def is_gone(pid: int) -> bool:
    """Whether a process ended."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True

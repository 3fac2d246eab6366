"""How much memory is available, how much this process has had at most, and what becomes of what it frees.

Linux writes the first two into files; elsewhere psutil asks the system, and is installed there.
"""

import functools
import os
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from seesay.base.c_functions import c_function

# The names of limit and use in version 2 and version 1 of control groups.
GROUP_FILES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
FILE_CACHE = "inactive_file"
# glibc's numbers of two bounds in bytes: freed memory above the first goes back to the system, and blocks above the
# second come from the system and go back to it. 32 MB is the most that it takes; 256 MB are a guess, room for what a
# batch of images leaves.
BOUNDS = {-1: 256 * 2**20, -3: 32 * 2**20}
# What a user says to glibc of them.
SAID_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that can still be taken: the least of what the system has free and what each limit of a container leaves.

    `root` is where `proc` and `sys` lie.
    """
    text = _text(root / "proc/meminfo")
    free = _field(text, "MemAvailable:") * 1024
    if not free:
        free = import_module("psutil").virtual_memory().available
    return min([free, *(left for _, left in _groups(root))])


def whole_memory(root: Path = Path("/")) -> int:
    """Bytes that could ever be had: the least of what the machine has and the limits of a container.

    Unlike what is free, it is the same at every start.
    """
    whole = _field(_text(root / "proc/meminfo"), "MemTotal:") * 1024
    if not whole:
        whole = import_module("psutil").virtual_memory().total
    return min([whole, *(limit for limit, _ in _groups(root))])


def peak_memory() -> int:
    """The most bytes this process has held at one time."""
    # Not `ru_maxrss` first: a process that was just started has its parent's.
    held = _field(_text(Path("/proc/self/status")), "VmHWM:") * 1024
    if held:
        return held
    if sys.platform == "win32":
        return import_module("psutil").Process().memory_info().peak_wset
    resource = import_module("resource")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


@functools.cache
def keep_freed_memory() -> bool:
    """Let the process keep what it frees, up to `BOUNDS`, for what it asks for next; whether that could be said.

    By itself glibc gives the large blocks of each step back, and the system clears every page before it hands it out
    anew: a seventh of the time of encoding in float32 on a CPU, a twentieth of training's
    (benchmarks/2026-11-29-freed-memory). Nothing happens where the user has said what glibc is to do, and with other C
    libraries.
    """
    if sys.platform != "linux" or any(name in os.environ for name in SAID_BY_USER):
        return False
    mallopt = c_function("mallopt")
    return mallopt is not None and all(mallopt(number, value) == 1 for number, value in BOUNDS.items())


def _groups(root: Path) -> Iterator[tuple[int, int]]:
    """The memory limits of this process's control group and of those around it, and what each leaves."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        inside = base / name.lstrip("/")
        # Seen from inside a container the path may be that of the host; the mount itself is then the group.
        for folder in [inside, *inside.parents]:
            if folder == base.parent or not folder.is_relative_to(base):
                break
            yield from _limits_in(folder)


def _limits_in(folder: Path) -> Iterator[tuple[int, int]]:
    for limit_name, used_name in GROUP_FILES:
        limit, used = _text(folder / limit_name).strip(), _text(folder / used_name).strip()
        if limit.isdigit() and used.isdigit():
            # Cached files are given up before anything is refused.
            left = max(0, int(limit) - int(used) + _field(_text(folder / "memory.stat"), FILE_CACHE))
            yield int(limit), left


def _field(text: str, name: str) -> int:
    found = re.search(rf"^{re.escape(name)}\s+(\d+)", text, re.MULTILINE)
    return int(found.group(1)) if found else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""

"""What the system says of processes: how many may run at once, and which is still there."""

import os
import sys
from importlib import import_module


def usable_cores() -> int:
    """The cores this process may use, at least 1: all of the machine on systems without such a limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number."""
    if sys.platform == "win32":
        # There `os.kill` with 0 is Ctrl-C, or the end of the process.
        return import_module("psutil").pid_exists(pid)
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # a number that no process can have
        return False
    except PermissionError:
        return True
    return True

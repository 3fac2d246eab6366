"""Memory that a process shares with those it starts, and how these are started."""

import math
import mmap
import multiprocessing
import os
import sys
from collections.abc import Sequence
from multiprocessing import forkserver
from multiprocessing.heap import Arena

import numpy as np


def start_method(*, is_clean: bool = False) -> str:
    """How `multiprocessing` starts a process: "fork", or "spawn" where there is no fork or it is not safe (macOS).

    `is_clean`: with nothing of this process in it, neither locks of its threads nor open files; then "forkserver".
    """
    can_fork = "fork" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"
    return ("forkserver" if is_clean else "fork") if can_fork else "spawn"


def import_for_clean_starts(modules: Sequence[str]) -> None:
    """Where clean processes are forked from one: start that, which imports these from where this process would.

    By itself Python would look in the working folder before all others. Nothing is waited for.
    """
    if start_method(is_clean=True) != "forkserver":
        return
    forkserver.set_forkserver_preload(list(modules))
    there = {name: os.environ.get(name) for name in ("PYTHONPATH", "PYTHONSAFEPATH")}
    os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, sys.path)), PYTHONSAFEPATH="1")
    try:
        forkserver.ensure_running()
    finally:
        for name, value in there.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class SharedArray:
    """An array of zeros in memory that this process shares with the workers it starts.

    `array` is (*shape,) of `dtype`. Memory is taken only where something is written. Raises `OSError` where the system
    gives none.
    """

    def __init__(self, shape: tuple[int, ...], dtype: type[np.generic] = np.uint8, *, is_clean: bool = False):
        self._shape, self._dtype = shape, np.dtype(dtype)
        size = max(1, math.prod(shape) * self._dtype.itemsize)
        # Only a fork inherits anonymous memory. The other kind is a file without a name, and /dev/shm may be small.
        self._memory = mmap.mmap(-1, size) if start_method(is_clean=is_clean) == "fork" else Arena(size)

    @property
    def array(self) -> np.ndarray:
        """The memory as it is now, of the shape (N, ...) that was asked for, to read and to write."""
        memory = self._memory.buffer if isinstance(self._memory, Arena) else self._memory
        return np.frombuffer(memory, dtype=self._dtype, count=math.prod(self._shape)).reshape(self._shape)

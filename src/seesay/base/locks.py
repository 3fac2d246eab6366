"""The one way to hold a file for this process alone. A lock ends with its process, however that ends."""

import os
import socket
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import IO, Any, TextIO
from weakref import WeakSet

from seesay.base.errors import StorageError
from seesay.base.streams import say

# The byte that is locked on Windows, where nobody else may read or write it: the last one that `_locking` of its C
# library can name, which is behind the end of the file.
LOCKED_BYTE = (1 << 31) - 2


# Those of this process. A loader or a decoder that it forks and that outlives it must not keep them.
_HELD: WeakSet[IO[Any]] = WeakSet()


def take_lock(file: IO[Any]) -> bool:
    """Hold the open `file` until it is closed; False where another process holds it.

    Linux and macOS have locks of files by `fcntl`, Windows by `msvcrt`. On a system with neither nothing is held, and a
    warning says that once. Raises `OSError` where the file system refuses locks.
    """
    for name, lock in (("fcntl", _lock_file), ("msvcrt", _lock_byte)):
        try:
            module = import_module(name)
        except ImportError:
            continue
        is_held = lock(module, file)
        if is_held:
            _HELD.add(file)
        return is_held
    _warn()
    return True


def take_named_lock(file: TextIO, what: str) -> None:
    """As `take_lock` of a file open to read and write, and in it stands who holds it.

    Raises `StorageError` where another process does, with its number; `what` is the thing that the lock is for.
    """
    if not take_lock(file):
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise StorageError(f"{what} is in use by process {owner}; wait or stop it.")
    file.seek(0)
    file.truncate()
    file.write(f"{os.getpid()} on {socket.gethostname()}")
    file.flush()


def _lock_file(fcntl: ModuleType, file: IO[Any]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_byte(msvcrt: ModuleType, file: IO[Any]) -> bool:
    handle = file.fileno()
    before = os.lseek(handle, 0, os.SEEK_CUR)
    os.lseek(handle, LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    except PermissionError:
        return False
    finally:
        os.lseek(handle, before, os.SEEK_SET)
    return True


@cache
def _warn() -> None:
    say("warning: this system has no locks for files; let no two commands write to one place at the same time.")


def _let_go() -> None:
    """In a process that was forked: its copies of the open files are closed, and their locks stay with the first."""
    for file in list(_HELD):
        file.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)

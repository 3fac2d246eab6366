"""Functions of the C libraries that are loaded in this process, such as the system's own and OpenMP."""

import ctypes
from collections.abc import Callable


def c_function(name: str) -> Callable[..., int] | None:
    """One of them; None where no library has it, and on Windows, which looks for a name in one library at a time."""
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):
        return None

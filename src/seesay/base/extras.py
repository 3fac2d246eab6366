"""Packages that only some models need: what to type where one is missing."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from seesay.base.errors import UsageError


@contextmanager
def needing(extra: str, *, package: str | None = None, why: str = "a tower of this model is that of") -> Iterator[None]:
    """Inside, a package is imported, which the extra of that name installs; it is called as the extra is unless named.

    `UsageError` if it is not installed, or cannot be imported where it is: with packages that do not fit one another.
    """
    name = package or extra
    try:
        yield
    except (ImportError, RuntimeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            fault = f"{why} the package {name}, which is not installed"
        else:
            fault = f"{name} cannot be imported here ({' '.join(str(error).split())[:120]})"
        raise UsageError(f"{fault}; add what it needs with: pip install 'seesay[{extra}]'.") from error


def package(name: str, *, extra: str) -> Any:
    """The package of that name, which the extra installs; `UsageError` where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"this needs {name}, which is not here; add it with: pip install 'seesay[{extra}]'."
        ) from error

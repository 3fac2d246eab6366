"""Packages that only some models need: what to type where one is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from seesay.base.errors import UsageError


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Inside, the package `extra`, which the extra of that name installs, is imported.

    `UsageError` if it is not installed, or cannot be imported where it is: with packages that do not fit one another.
    """
    try:
        yield
    except (ImportError, RuntimeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == extra:
            fault = f"a tower of this model is that of the package {extra}, which is not installed"
        else:
            fault = f"{extra} cannot be imported here ({' '.join(str(error).split())[:120]})"
        raise UsageError(f"{fault}; add what it needs with: pip install 'seesay[{extra}]'.") from error

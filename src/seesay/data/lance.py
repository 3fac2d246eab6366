"""LanceDB's tables: the one file that imports it, and not before something is written or read here.

Lance writes a version of a table beside the last one and names it in one step, so a killed writer leaves a version or
none. It does not fsync.
"""

import errno
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from seesay.base.errors import RefusedInput, StorageError
from seesay.base.extras import needing
from seesay.base.publish import publish_folder, storage_error

if TYPE_CHECKING:
    import pyarrow as pa

ENDING = ".lance"
# LanceDB's client for servers, which no table in a folder needs: half of the time of importing LanceDB.
CLIENT = "lance_namespace_urllib3_client"
# The table's name while it is written; its place names it afterwards.
_WRITTEN = "written"


def database_at(folder: Path, *, why: str) -> Any:
    """The tables in a folder, NAME in NAME.lance; `why`, as in "an index is kept in", where LanceDB is missing."""
    _defer(CLIENT)
    with needing("search", package="lancedb", why=why), _unchecked_overrides():
        lancedb = import_module("lancedb")
    # A process that decodes images is forked, and never calls LanceDB.
    warnings.filterwarnings("ignore", message="lancedb fork support is experimental")
    return lancedb.connect(str(folder))


def _defer(name: str) -> None:
    """Let a package run its `__init__` when a name from there is first asked for; its modules are as ever."""
    spec = None if name in sys.modules else find_spec(name)
    if spec is None or spec.loader is None:
        return
    package = module_from_spec(spec)
    run, waiting, lock = spec.loader.exec_module, [package], RLock()

    def first_name(name: str) -> Any:
        with lock:  # another thread waits until all names are there, as at an import
            while waiting:
                waiting.pop()  # first, as it may ask for its own names
                try:
                    run(package)
                except BaseException:
                    waiting.append(package)  # as an import that failed, it is tried again
                    raise
        if name in vars(package):
            return vars(package)[name]
        raise AttributeError(f"module {package.__name__!r} has no attribute {name!r}")

    package.__getattr__ = first_name
    sys.modules[name] = package


@contextmanager
def _unchecked_overrides() -> Iterator[None]:
    """Before Python 3.12 LanceDB marks methods by a package that compares all signatures: a third of its import."""
    if sys.version_info >= (3, 12) or "lancedb" in sys.modules or not find_spec("overrides"):
        yield
        return
    overrides: Any = import_module("overrides")
    checked = overrides.override
    overrides.override = _marked
    try:
        yield
    finally:
        overrides.override = checked


def _marked(method: Any) -> Any:
    """As `typing.override` of Python 3.12, and as `overrides` looks for it."""
    method.__override__ = True
    return method


@contextmanager
def lance_errors(path: Path, *, hint: str) -> Iterator[None]:
    """What the disk refuses LanceDB as `StorageError`, and what it cannot read as `RefusedInput` with a hint."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, path) or error from error
    except (RuntimeError, ValueError) as error:
        code = re.search(r"os error (\d+)", str(error))
        refused = OSError(int(code[1]) if code else errno.EPROTO, str(error))
        reason = re.split(r", \S+\.rs:\d+|\n", str(error))[0][:300]
        if known := storage_error(refused, path):
            raise known from error
        if code:
            raise StorageError(f"{path} cannot be read or written ({reason}); check the disk.") from error
        raise RefusedInput(f"{path} cannot be read ({reason}); {hint}.") from error
    except BaseException as error:
        # A panic of its Rust, at a call or while rows come, on a file that is no longer what it was.
        if type(error).__name__ not in ("PanicException", "RustPanic"):
            raise
        raise RefusedInput(f"{path} cannot be read (LanceDB: {str(error)[:300]}); {hint}.") from error


def write_table(path: Path, schema: "pa.Schema", tables: "Iterable[pa.Table]") -> None:
    """Write `NAME.lance` of these rows, in their order, in place of what was there; whole and durable, or not at all.

    `path` is the folder to be made; `lancedb.connect(its parent).open_table(NAME)` opens it.
    """

    def write(temporary: Path) -> None:
        database = database_at(temporary, why="a table is written by")
        with lance_errors(path, hint="write it again"):
            table = database.create_table(_WRITTEN, schema=schema)
        for rows in tables:
            with lance_errors(path, hint="write it again"):
                table.add(rows)
        with lance_errors(path, hint="write it again"), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it warns of other readers; there are none of this table
            table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)

    publish_folder(path, write, part=f"{_WRITTEN}{ENDING}")

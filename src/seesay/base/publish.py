"""The one way to make a file or a folder durable: a temporary sibling, write, fsync, rename, fsync the parent.

Whatever happens, a name holds either all of the old content or all of the new. Beside `NAME` there may be

    .NAME.tmp-<pid>-<random>   being written; never read it
    .NAME.old-<pid>-<random>   the folder that NAME held a moment ago, complete

A file is replaced in one step. Replacing a folder takes two (NAME becomes .old, .tmp becomes NAME), and a
machine that stops between them leaves only the .old: `find_published` gives a reader that one, and the next
`publish_folder` or `remove_stale` puts it back under its name. Either removes what a dead process left as well,
`publish_folder` only of its own name.

A device or a pipe (/dev/null) is refused: a file would take its place.

A process id means something on one machine only: a folder that several machines write to needs one writer.
"""

import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from seesay.base.errors import StorageError, UsageError
from seesay.base.processes import is_alive
from seesay.base.sync import IS_WINDOWS, sync_folder, sync_tree

_LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<kind>tmp|old)-(?P<pid>\d+)-[0-9a-f]{8}")

# Endings that say how a file is written, those that people take for results and those of what they measure, which a
# slip of the hand would replace: a list of our own. All images that `data.sources` knows are among them.
FORMAT_ENDINGS = frozenset(
    [
        *(".csv", ".html", ".json", ".jsonl", ".md", ".parquet", ".pdf", ".tsv", ".xlsx", ".yaml"),
        *(".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
        *(".jpx", ".png", ".svg", ".tif", ".tiff", ".webp", ".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf"),
        *(".rw2", ".bin", ".npy", ".npz", ".onnx", ".pt", ".pth", ".safetensors", ".tar", ".tgz", ".zip"),
    ]
)
# Windows replaces no file while a virus scanner, an indexer or a reader has it open: seconds between tries (guesses).
REPLACE_WAITS = (0.05, 0.1, 0.2, 0.4, 0.8) if IS_WINDOWS else ()

# What a new file has where nothing else is asked for, as in C's `fopen`.
MODE = 0o666

_HINTS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your disk quota is used up",
    errno.EROFS: "the file system is read-only; choose a path that can be written",
    errno.EACCES: "permission is denied; choose another path, change its owner or mode, or close what has it open",
    errno.EPERM: "the operation is not permitted; choose another path, or change its owner or attributes",
    errno.EFBIG: "the file is larger than the file system or `ulimit -f` allows; choose another path or raise it",
    errno.EIO: "the disk reports an input/output error; check it (`dmesg`) before you trust it with anything",
}

_ours: set[str] = set()  # the temporaries this process is using right now


def publish_file(path: str | Path, data: bytes, *, mode: int = MODE) -> None:
    """Write `data` under `path`, durably, in place of what was there; a symlink keeps pointing where it did.

    `mode`: who may read and write it, less what the user's umask takes away. Raises StorageError when the disk refuses
    (before or after the rename: see the top of this file).
    """
    publish_chunks(path, [data], mode=mode)


def publish_chunks(path: str | Path, chunks: Iterable[bytes], *, mode: int = MODE) -> None:
    """As `publish_file` for what is made piece by piece; an exception of `chunks` leaves everything as it was."""
    path = Path(os.path.realpath(path))
    with storage_errors(path):
        _refuse_no_file(path)
        _make_parents(path.parent)
        with _temporary_beside(path) as temporary:
            _write(temporary, chunks, mode=mode)
            _replace(temporary, path)
            sync_folder(path.parent)


def publish_folder(folder: str | Path, write: Callable[[Path], None], *, part: str = ".") -> None:
    """Let `write` fill an empty temporary folder, then make it `folder`, durably, in place of what was there.

    `part` is a folder in it that is taken alone, of a library that chooses the name it writes to.
    An exception from `write` leaves everything as it was and goes on to the caller; a full or failing disk
    becomes a StorageError, if `write` lets its OSError out (safetensors' `save_file` hides it: write its bytes).
    UsageError when `folder` names a file.
    """
    folder = Path(os.path.realpath(folder))
    with storage_errors(folder):
        if folder.exists() and not folder.is_dir():
            raise UsageError(
                f"{folder} is a file, but a folder is to be written there; move it or choose another name."
            )
        _make_parents(folder.parent)
        _restore(folder)
        # What cannot be removed, another user's perhaps, is in nobody's way.
        with suppress(StorageError, OSError):
            remove_stale(folder.parent, name=folder.name)
        with _temporary_beside(folder) as temporary:
            temporary.mkdir()
            write(temporary)
            sync_tree(temporary)
            _swap(temporary / part, folder)


def find_published(folder: str | Path) -> Path | None:
    """Where the complete content of `folder` is: itself, else what a stopped replacement left; None without any."""
    folder = Path(os.path.realpath(folder))
    if folder.exists():
        return folder
    asides = [path for path, name, kind, _ in _leftovers(folder.parent) if (name, kind) == (folder.name, "old")]
    return max(asides, key=lambda path: path.stat().st_mtime_ns, default=None)


def remove_stale(parent: str | Path, *, name: str | None = None) -> list[Path]:
    """Remove what dead processes left in `parent`, of one name alone if it is given, and return what was removed.

    A folder that is missing because its replacement was stopped half-way is put back first.
    """
    parent = Path(os.path.realpath(parent))
    removed = []
    with storage_errors(parent):
        for path, stands_for, kind, pid in _leftovers(parent):
            if name not in (None, stands_for) or not _is_stale(path, pid):
                continue
            if kind == "old":
                _restore(parent / stands_for)
            if path.exists():
                _remove(path)
                removed.append(path)
    return removed


def refuse_unwritable(folder: str | Path, *, needed: int = 0) -> None:
    """Raises `StorageError` where `folder`, or what is there of the path to it, takes no file or not `needed` bytes.

    A file is really written and removed again: root is not stopped by modes, and a mode says nothing of a full disk.
    """
    folder = Path(os.path.realpath(folder))
    with storage_errors(folder), _no_such_file(folder):
        _try_to_write(_existing_folder(folder) / "probe", folder, needed)


def refuse_unwritable_file(path: str | Path | None, name: str, *, ending: str = "") -> None:
    """As `refuse_unwritable` for a file that is to be written at the end of the work; None is no file.

    Raises `UsageError`, which begins with `name`, the option or argument, for what is there and is no regular file,
    and for the ending of another format than that of `ending`.
    """
    if path is None:
        return
    if str(path) == "-":
        raise UsageError(f"{name} - would be a file of that name; name another: - is standard output for --json alone.")
    if ending and Path(path).suffix.lower() in FORMAT_ENDINGS - {ending}:
        raise UsageError(f"{name} {path} is written as {ending}; let its name end in {ending}.")
    path = Path(os.path.realpath(path))
    with storage_errors(path), _no_such_file(path):
        _refuse_no_file(path, name)
        existing = _existing_folder(path.parent)
        _try_to_write(existing / (path.name if existing == path.parent else "probe"), path)


@contextmanager
def _no_such_file(path: Path) -> Iterator[None]:
    """A file system that makes no such file, as /proc, as `StorageError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(f"{path} cannot be written: no file can be made there; choose another path.") from error


def _refuse_no_file(path: Path, name: str = "") -> None:
    if path.exists() and not path.is_file():
        what = "is a folder" if path.is_dir() else "is a device or a pipe"
        raise UsageError(f"{name} {path} {what}; name the file to write in its place.".lstrip())


def _existing_folder(folder: Path) -> Path:
    """`folder` or the nearest above it that is there; `StorageError` where that is a file."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise StorageError(f"{existing} is a file and no folder, so nothing can be written in it; choose another path.")
    return existing


def _try_to_write(probe: Path, target: Path, needed: int = 0) -> None:
    """Write and remove a temporary file beside `probe`, which is where `target` will be, or on the way to it."""
    usage = shutil.disk_usage(probe.parent)
    # Some file systems do not tell their size.
    if usage.total and usage.free < needed:
        raise StorageError(
            f"{target} cannot be written: {needed:,} bytes are needed and {usage.free:,} are free; free some space "
            "or choose another path."
        )
    with _temporary_beside(probe) as temporary:
        _write(temporary, [b"\n"])


def storage_error(error: OSError, target: Path | str, *, done: str = "written") -> StorageError | None:
    """`error` as a sentence with a hint; None when it is not about storage.

    `target` is the path that could not be `done`, or plain words for something that has none ("standard output").
    """
    if error.errno not in _HINTS:
        return None
    reason = _HINTS[error.errno]
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = f" ({_free_bytes(target):,} bytes free)" if isinstance(target, Path) else ""
        reason += f"{free}; free some space or choose another path"
    return StorageError(f"{target} cannot be {done}: {reason}.")


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """An `OSError` inside about storage as the `StorageError` of writing `path`; any other goes on as it is."""
    try:
        yield
    except OSError as error:
        on_disk = storage_error(error, path)
        if on_disk is None:
            raise
        raise on_disk from error


def _free_bytes(path: Path) -> int:
    existing = next(above for above in (path, *path.parents, Path("/")) if os.path.exists(above))
    return shutil.disk_usage(existing).free


@contextmanager
def _temporary_beside(path: Path) -> Iterator[Path]:
    """A unique unused name beside `path`; whatever lies under it at the end is removed."""
    temporary = _sibling(path, "tmp")
    _ours.add(temporary.name)
    try:
        yield temporary
    finally:
        # A failure to tidy up must not hide what happened, nor undo what worked; `remove_stale` comes back to it.
        with suppress(OSError):
            _remove(temporary)
        _ours.discard(temporary.name)


def _sibling(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}-{os.getpid()}-{secrets.token_hex(4)}")


def _swap(temporary: Path, folder: Path) -> None:
    """Make `temporary` the content of `folder`, durably; the old content ends up under the temporary name."""
    if not folder.exists():
        _replace(temporary, folder)
        sync_folder(folder.parent)
        return
    aside = _sibling(folder, "old")
    _ours.add(aside.name)
    try:
        _replace(folder, aside)
        try:
            _replace(temporary, folder)
        except BaseException:
            _replace(aside, folder)
            raise
        sync_folder(folder.parent)
        # Renamed before it is deleted, so that whatever is called .old is complete.
        _replace(aside, temporary)
    finally:
        _ours.discard(aside.name)


def _restore(folder: Path) -> None:
    """Put back what a stopped replacement moved aside, if nothing has taken its name."""
    found = find_published(folder)
    if found is None or found == folder:
        return
    match = _LEFTOVER.fullmatch(found.name)
    if match and _is_stale(found, int(match["pid"])):
        _replace(found, folder)
        sync_folder(folder.parent)


def _is_stale(path: Path, pid: int) -> bool:
    """Whether nobody uses this leftover any more. Our own id may be that of an earlier process, as in a container."""
    if pid == os.getpid():
        return path.name not in _ours
    return not is_alive(pid)


def _leftovers(parent: Path) -> Iterator[tuple[Path, str, str, int]]:
    """(path, the name it stands for, tmp or old, process id) of every leftover in `parent`."""
    for path in sorted(parent.iterdir()) if parent.is_dir() else ():
        if match := _LEFTOVER.fullmatch(path.name):
            yield path, match["name"], match["kind"], int(match["pid"])


def _replace(source: Path, target: Path) -> None:
    for seconds in REPLACE_WAITS:
        try:
            os.replace(source, target)
        except PermissionError:
            time.sleep(seconds)
        else:
            return
    os.replace(source, target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _make_parents(folder: Path) -> None:
    _existing_folder(folder)
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def _write(path: Path, chunks: Iterable[bytes], *, mode: int = MODE) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    try:
        for data in chunks:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)

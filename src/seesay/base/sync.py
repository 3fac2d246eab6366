"""What was written reaches the disk: fsync of files and folders, for `publish` and for what other libraries write.

Windows has no fsync of a folder: NTFS logs renames in their order, and the last ones may be undone after a power cut.
"""

import errno
import os
from pathlib import Path

IS_WINDOWS = os.name == "nt"


def sync_tree(folder: Path) -> None:
    """Every file and folder below, and `folder` itself, the deepest first."""
    for inside, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync_file(Path(inside, name))
        sync_folder(Path(inside))


def sync_file(path: Path) -> None:
    """A failed fsync may have thrown the data away, so it is never tried a second time."""
    # Windows syncs only what is open for writing.
    handle = os.open(path, os.O_RDWR if IS_WINDOWS else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """The names in a folder, without what is in the files."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows: see the top of this file
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems know no fsync of a folder and say so with EINVAL; they order renames themselves.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)

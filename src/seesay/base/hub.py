"""The errors of the Hugging Face hub as ours: one line each, for models and data sets alike.

`huggingface_hub` keeps the files: its cache, its tokens, its offline switch (`HF_HUB_OFFLINE=1`).
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.base.publish import storage_error

HUB = "hf:"
# How many hexadecimal digits the digests have that the hub names files by: git's own and those of large files.
GIT_LENGTH, SHA256_LENGTH = 40, 64


@contextmanager
def hub_errors(repository: str, kind: str) -> Iterator[None]:
    """Around whatever fetches from `owner/name`, a "model" or "data set".

    `UsageError` for a repository that does not exist or may not be read, `StorageError` where the network or the disk
    fails.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage]
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    name = f"{HUB}{repository}"
    try:
        yield
    except GatedRepoError as error:
        raise UsageError(
            f"{name} may be read only after its terms are accepted on huggingface.co and `hf auth login`."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UsageError(
            f"{name} is no public {kind} of huggingface.co; check owner/name, or sign in with `hf auth login`."
        ) from error
    except LocalEntryNotFoundError as error:
        raise StorageError(
            f"{name} is not in the cache, and huggingface.co cannot be reached (or HF_HUB_OFFLINE is set); "
            "try again with a network."
        ) from error
    except HTTPError as error:
        raise StorageError(f"{name} could not be fetched ({error}); try again later.") from error
    except OSError as error:
        on_disk = storage_error(error, Path(error.filename or os.path.expanduser("~")))
        raise on_disk or StorageError(f"{name} could not be fetched ({error}); try again later.") from error


def check_promised(path: Path) -> None:
    """The cache names a file by the digest that the hub promised for it; other bytes are removed again.

    A file that was found right is marked beside it and not read again: whoever was killed before this, or fetched it
    with another program, has not looked. `RefusedInput` for other bytes.
    """
    blob = path.resolve()
    status = blob.stat()
    mark, seen = blob.with_name(f"{blob.name}.checked"), f"{status.st_size} {status.st_mtime_ns}"
    if len(blob.name) not in (SHA256_LENGTH, GIT_LENGTH) or (
        mark.is_file() and mark.read_text(encoding="ascii") == seen
    ):
        return
    if _digest(blob, status.st_size) != blob.name:
        path.unlink()
        for wrong in (blob, mark):
            wrong.unlink(missing_ok=True)
        raise RefusedInput(f"{path.name} arrived with other bytes than the hub promised and was removed; try again.")
    # A cache that cannot be written is read again next time.
    with suppress(OSError):
        mark.write_text(seen, encoding="ascii", newline="\n")


def _digest(blob: Path, size: int) -> str:
    """SHA-256 for a large file, and for one in git its object's name: SHA-1 of a header and the bytes."""
    is_git = len(blob.name) == GIT_LENGTH
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False) if is_git else hashlib.sha256()
    with blob.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()

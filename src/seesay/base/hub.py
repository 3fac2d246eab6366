"""The errors of the Hugging Face hub as ours: one line each, for models and data sets alike.

`huggingface_hub` keeps the files: its cache, its tokens, its offline switch (`HF_HUB_OFFLINE=1`).
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.base.publish import storage_error

HUB = "hf:"


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
    """The cache names a large file by the SHA-256 that the hub promised for it; other bytes are removed again."""
    blob = path.resolve()
    with blob.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if len(blob.name) == len(found) and blob.name != found:
        path.unlink()
        blob.unlink(missing_ok=True)
        raise RefusedInput(f"{path.name} arrived with other bytes than the hub promised and was removed; try again.")

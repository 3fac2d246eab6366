"""Repositories of the Hugging Face hub to local folders: the one file that opens the network for models.

`huggingface_hub` keeps the files: its cache, its tokens, its offline switch (`HF_HUB_OFFLINE=1`). Only descriptions,
vocabularies and one safetensors file are fetched.
"""

import hashlib
import os
from pathlib import Path

from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.base.publish import storage_error
from seesay.model.layouts import READERS
from seesay.model.layouts.hf_images import CONFIG_NAME as PREPROCESSOR_NAME
from seesay.model.layouts.hf_tokenizer import CONFIG_NAME as TOKENIZER_CONFIG_NAME
from seesay.model.layouts.vocabulary import FILE_NAMES as VOCABULARIES

DESCRIPTIONS = [
    *(layout.CONFIG_NAME for layout in READERS),
    PREPROCESSOR_NAME,
    TOKENIZER_CONFIG_NAME,
    "vocab.json",
    *VOCABULARIES,
]


def download(repository: str) -> Path:
    """The folder in the cache that holds what is needed of `owner/name`; fetched unless it is there already.

    `UsageError` for a repository that does not exist or may not be read, `StorageError` where the network or the disk
    fails, `RefusedInput` for one without a model that can be read, or for bytes other than the hub promised.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage]
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return _fetch(repository)
    except GatedRepoError as error:
        raise UsageError(
            f"hf:{repository} may be read only after its terms are accepted on huggingface.co and `hf auth login`."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UsageError(
            f"hf:{repository} is no public model of huggingface.co; check owner/name, or sign in with `hf auth login`."
        ) from error
    except LocalEntryNotFoundError as error:
        raise StorageError(
            f"hf:{repository} is not in the cache, and huggingface.co cannot be reached (or HF_HUB_OFFLINE is set); "
            "try again with a network."
        ) from error
    except HTTPError as error:
        raise StorageError(f"hf:{repository} could not be fetched ({error}); try again later.") from error
    except OSError as error:
        told = storage_error(error, Path(error.filename or os.path.expanduser("~")))
        raise told or StorageError(f"hf:{repository} could not be fetched ({error}); try again later.") from error


def _fetch(repository: str) -> Path:
    from huggingface_hub import hf_hub_download, snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import RemoteEntryNotFoundError

    folder = Path(snapshot_download(repository, allow_patterns=DESCRIPTIONS, library_name="seesay"))
    for layout in (layout for layout in READERS if layout.is_in(folder)):
        # The folder is named after the commit its files are from.
        is_new = not isinstance(try_to_load_from_cache(repository, layout.WEIGHTS_NAME, revision=folder.name), str)
        try:
            path = Path(hf_hub_download(repository, layout.WEIGHTS_NAME, revision=folder.name, library_name="seesay"))
        except RemoteEntryNotFoundError:
            continue
        if is_new:
            _check(path)
        return folder
    raise RefusedInput(
        f"hf:{repository} holds no description with safetensors weights that seesay reads; fetch its pickle yourself "
        "and turn it into safetensors with `seesay convert --from-pickle`, or name another repository."
    )


def _check(path: Path) -> None:
    """The cache names a large file by the SHA-256 that the hub promised for it; other bytes are removed again."""
    blob = path.resolve()
    with blob.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if len(blob.name) == len(found) and blob.name != found:
        path.unlink()
        blob.unlink(missing_ok=True)
        raise RefusedInput(f"{path.name} arrived with other bytes than the hub promised and was removed; try again.")

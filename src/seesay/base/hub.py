"""The errors of the Hugging Face hub as ours: one line each, for models and data sets alike.

`huggingface_hub` keeps the files: its cache, its tokens, its offline switch (`HF_HUB_OFFLINE=1`).
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Literal

from seesay.base.errors import RefusedInput, SeesayError, StorageError, UsageError
from seesay.base.publish import publish_file, storage_error

HUB = "hf:"
MAIN = "main"
# Seconds until the hub has to begin an answer about a repository; as long as huggingface_hub waits for one on a file.
ANSWER_SECONDS = 10.0
# How many hexadecimal digits the digests have that the hub names files by: git's own and those of large files.
GIT_LENGTH, SHA256_LENGTH = 40, 64
# What a message quotes of the hub's own words, a guess.
QUOTED = 200


@contextmanager
def hub_errors(repository: str, kind: Literal["model", "data set"], *, revision: str | None = None) -> Iterator[None]:
    """Around whatever fetches from `owner/name`.

    `UsageError` for a repository or revision that does not exist or may not be read, `StorageError` where the hub, the
    network or the disk fails.
    """
    from huggingface_hub.errors import (
        HFValidationError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage]
        LocalEntryNotFoundError,
        XetDownloadError,
    )

    name = f"{HUB}{repository}"
    try:
        yield
    except HFValidationError as error:
        raise _is_none(name, kind) from error
    except (HTTPError, OSError) as error:
        if isinstance(error, OSError) and (on_disk := _on_disk(error)) is not None:
            raise on_disk from error
        # That a file is not in the cache has a cause: why it could not be fetched.
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else None
        raise _explained(cause or error, name, kind, revision=revision) from error
    except XetDownloadError as error:
        raise _broken_off(name, error) from error


@contextmanager
def transfer_errors(repository: str) -> Iterator[None]:
    """Around the transfer of a file alone: the library for large ones has `RuntimeError` for what goes wrong there."""
    try:
        yield
    except RuntimeError as error:
        raise _broken_off(f"{HUB}{repository}", error) from error


def _broken_off(name: str, error: Exception) -> StorageError:
    return StorageError(f"{name} could not be fetched ({str(error)[:QUOTED]}); try again later.")


def hub_host() -> str:
    """The hub that is asked, as people call it: huggingface.co, or the one that `HF_ENDPOINT` names."""
    from huggingface_hub import constants

    return constants.ENDPOINT.partition("://")[2] or constants.ENDPOINT


def commit_in_cache(cache: Path, revision: str) -> str | None:
    """The commit that a revision was at when files of it were fetched to the `cache` of a repository."""
    if re.fullmatch(rf"[0-9a-f]{{{GIT_LENGTH}}}", revision):
        return revision
    reference = _reference(cache, revision)
    return reference.read_text(encoding="ascii").strip() if reference is not None and reference.is_file() else None


def keep_commit(cache: Path, revision: str, commit: str) -> None:
    """Write down what `commit_in_cache` reads; a cache that cannot be written does without."""
    reference = _reference(cache, revision)
    if reference is None or commit_in_cache(cache, revision) == commit:
        return
    with suppress(StorageError):
        publish_file(reference, commit.encode())


def _reference(cache: Path, revision: str) -> Path | None:
    """Where `huggingface_hub` keeps the commit of a revision; None for one that leads anywhere else."""
    parts = PurePosixPath(revision).parts
    return None if ".." in parts or PurePosixPath(revision).is_absolute() else cache.joinpath("refs", *parts)


def _on_disk(error: OSError) -> StorageError | None:
    """What the disk refused, where it was the disk."""
    if error.errno is None or isinstance(error, ConnectionError):
        return None
    return storage_error(error, Path(error.filename or os.path.expanduser("~")))


def _is_none(name: str, kind: str) -> UsageError:
    return UsageError(f"{name} is no public {kind} of {hub_host()}; check owner/name, or sign in with `hf auth login`.")


def _explained(error: BaseException, name: str, kind: str, *, revision: str | None) -> SeesayError:
    """What went wrong between us and the hub, as the one line about it."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    host = hub_host()
    if isinstance(error, GatedRepoError):
        return UsageError(
            f"{name} may be read only after its terms are accepted on {host} and `hf auth login`."
            if not _has_token()
            else f"{name} is gated, and the account that is signed in here has no access; ask for it on {host}."
        )
    if isinstance(error, RevisionNotFoundError):
        return UsageError(f"{name} has no revision {revision or MAIN!r}; name a branch, a tag or a commit of it.")
    if isinstance(error, RepositoryNotFoundError):
        return _is_none(name, kind)
    if isinstance(error, HfHubHTTPError):
        return _of_status(error, name)
    if isinstance(error, OfflineModeIsEnabled):
        return StorageError(f"{name} is not in the cache, and HF_HUB_OFFLINE is set; unset it to fetch the {kind}.")
    if isinstance(error, LocalEntryNotFoundError):
        return StorageError(
            f"{name} is not in the cache, and {host} cannot be reached (or HF_HUB_OFFLINE is set); "
            "try again with a network."
        )
    if "Timeout" in type(error).__name__:
        return StorageError(f"{name} could not be fetched: {host} does not answer in time; try again later.")
    if "ConnectError" in type(error).__name__:
        reason = str(error)[:QUOTED]
        return StorageError(
            f"{name} is not in the cache, and {host} cannot be reached ({reason}); try again with a network."
        )
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:QUOTED]
    return StorageError(f"{name} could not be fetched ({reason.rstrip('.')}); try again later.")


def _of_status(error, name: str) -> SeesayError:
    """The line for an answer that is none of the hub's own kinds."""
    host, status = hub_host(), error.response.status_code
    words = (getattr(error, "server_message", None) or "").split("\n")[0][:QUOTED]
    quoted = f": {words}" if words else ""
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) and not quoted and not _has_token():
        return UsageError(f"{name} is not given to everybody by {host} ({status}); sign in with `hf auth login`.")
    if status == HTTPStatus.UNAUTHORIZED:
        return UsageError(f"{host} does not take the token (401{quoted}); sign in again with `hf auth login`.")
    if status == HTTPStatus.FORBIDDEN:
        return UsageError(f"{name} may not be read with the account that is signed in here (403{quoted}).")
    if status == HTTPStatus.NOT_FOUND and "/api/" in str(error.response.url):
        return UsageError(f"{name} is not known to {host} (404{quoted}); check owner/name.")
    if status == HTTPStatus.NOT_FOUND:
        return RefusedInput(f"{name} lists a file that {host} does not have (404{quoted}); name another revision.")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        seconds = _seconds_to_wait(error.response.headers)
        when = f"in {seconds:,} s" if seconds is not None else "later"
        return StorageError(
            f"{name} could not be fetched: {host} has had too many requests from here (429); try again {when}, or "
            "sign in with `hf auth login`, which allows more."
        )
    known = {entry.value: entry.phrase for entry in HTTPStatus}
    phrase = f"{status} {known.get(status, '')}".strip()
    return StorageError(f"{name} could not be fetched: {host} answers {phrase}{quoted}; try again later.")


def _seconds_to_wait(headers: Mapping[str, str]) -> int | None:
    """From `Retry-After`, or the hub's own `RateLimit: "api";r=0;t=55`."""
    after = headers.get("retry-after", "").strip()
    found = re.search(r"\bt\s*=\s*(\d+)", headers.get("ratelimit", ""))
    return int(after) if after.isdecimal() else int(found[1]) if found else None


def _has_token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


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

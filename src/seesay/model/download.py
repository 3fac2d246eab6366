"""Repositories of the Hugging Face hub to model folders on disk: the one file that opens the network for models.

Fetched are what describes the model, its vocabulary and its safetensors files, and nothing else; everything but the
weights is read before these are fetched. What is in the cache of `huggingface_hub` already is not fetched again.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.hub import (
    ANSWER_SECONDS,
    HUB,
    MAIN,
    check_promised,
    commit_in_cache,
    hub_errors,
    hub_host,
    keep_commit,
    transfer_errors,
)
from seesay.base.journal import ProgressLine
from seesay.base.streams import say
from seesay.model.layouts import READERS, hf_clip, layout_in, seesay
from seesay.model.layouts.hf_images import FILE_NAMES as PREPROCESSORS
from seesay.model.layouts.hf_tokenizer import CONFIG_NAME as TOKENIZER_CONFIG_NAME
from seesay.model.layouts.sentence_transformers import MODULES, clip_folder
from seesay.model.layouts.vocabulary import FILE_NAMES as VOCABULARIES
from seesay.model.pickles import ENDINGS, convert_pickle
from seesay.model.weights import MissingWeights, is_index, weight_files, weights_among

# Bytes above which a fetch is announced: a guess at what takes a second.
ANNOUNCED = 10_000_000
MEGABYTE = 1_000_000
# Names that a message lists, a guess at what fits a line.
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Repository:
    """`owner/name` at a revision, which is a branch, a tag or a commit."""

    name: str
    revision: str = MAIN

    def __str__(self) -> str:
        return f"{HUB}{self.name}{'' if self.revision == MAIN else f'@{self.revision}'}"

    @cached_property
    def cache(self) -> Path:
        """Where `huggingface_hub` keeps what it fetched of it."""
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        return Path(constants.HF_HUB_CACHE).expanduser() / repo_folder_name(repo_id=self.name, repo_type="model")


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files of a commit and their sizes in bytes, None where the hub does not say; or those that are in the cache.

    `failure` is why the hub was not asked, or gave no answer; `inner` is the folder in the repository that they are in.
    """

    repository: Repository
    commit: str
    sizes: Mapping[str, int | None]
    failure: Exception | None = None
    inner: str = ""

    @property
    def folder(self) -> Path:
        """Where the files lie once they are fetched."""
        return self.repository.cache / "snapshots" / self.commit / self.inner

    def fetch(self, name: str, *, advance: Callable[[int], None] = lambda count: None) -> None:
        """Fetch the file unless it is there; `advance` is called with the number of bytes that arrived.

        Raises what `hub_errors` explains, and `RefusedInput` for other bytes than were promised.
        """
        from huggingface_hub import hf_hub_download

        if self.failure is not None and not (self.folder / name).exists():
            raise _not_in_cache(self)
        inner = f"{self.inner}/{name}" if self.inner else name
        with transfer_errors(self.repository.name):
            path = hf_hub_download(
                self.repository.name, inner, revision=self.commit, library_name="seesay", tqdm_class=_bar(advance)
            )
        check_promised(Path(path))

    def fetch_all(self, names: Sequence[str]) -> None:
        """As `fetch`, of several large ones: how much that is is said before, and how far it is while it goes on."""
        missing = [name for name in names if not (self.folder / name).exists()]
        total = sum(self.sizes.get(name) or 0 for name in missing)
        if total > ANNOUNCED:
            files = missing[0] if len(missing) == 1 else f"{len(missing)} files"
            say(f"fetching {files} of {self.repository} from {hub_host()} to the cache: {total / MEGABYTE:,.0f} MB")
        line, done = ProgressLine(f"fetching {self.repository}"), 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            megabytes = f"{done / MEGABYTE:,.0f}/{total / MEGABYTE:,.0f} MB"
            line.show(min(1.0, done / total) if total else 1.0, megabytes)

        try:
            for name in names:
                self.fetch(name, advance=advance)
        finally:
            line.close()


def download(repository: Repository, *, tokenizer: Path | None = None) -> Path:
    """The folder in the cache that holds what is needed of the repository; fetched unless it is there already.

    `tokenizer` is as in `load`. Raises what `hub_errors` does, and `RefusedInput` for a repository without a model that
    can be read, or for bytes other than the hub promised.
    """
    with hub_errors(repository.name, "model", revision=repository.revision):
        listing = _inside(_listed(repository))
        layout = _described(listing)
        name = weights_among(listing.sizes, layout.WEIGHTS_NAME)
        if name is None:
            raise _no_weights(listing)
        _fetch_companions(listing, layout, tokenizer)
        if is_index(name):
            listing.fetch(name)
            listing.fetch_all([file.name for file in weight_files(listing.folder / layout.WEIGHTS_NAME)])
        else:
            listing.fetch_all([name])
    return listing.folder


@contextmanager
def unpickled(repository: Repository, *, tokenizer: Path | None = None, force: bool = False) -> Iterator[Path]:
    """A folder, for as long as this lasts, of a repository whose weights are a pickle, with a safetensors file of them.

    The pickle is read as `convert_pickle` reads it, which `force` is for. Raises as that and `download` do.
    """
    with hub_errors(repository.name, "model", revision=repository.revision):
        listing = _inside(_listed(repository))
        layout = _described(listing)
        if weights_among(listing.sizes, layout.WEIGHTS_NAME) is not None:
            raise UsageError(f"{repository} has safetensors weights; leave --from-pickle out.")
        pickle = _pickle_of(listing, layout)
        _fetch_companions(listing, layout, tokenizer)
        listing.fetch_all([pickle])
    with TemporaryDirectory(prefix="seesay-unpickle-") as temporary:
        folder = Path(temporary) / PurePosixPath(repository.name).name
        folder.mkdir()
        for name in (*_companions(listing, layout), layout.CONFIG_NAME):
            shutil.copyfile(listing.folder / name, folder / name)
        convert_pickle(listing.folder / pickle, folder / layout.WEIGHTS_NAME, force=force)
        yield folder


def _listed(repository: Repository) -> Listing:
    """The files of the revision: the hub's answer, or where there is none what is in the cache, which is then said."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        HFValidationError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage]
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RevisionNotFoundError,
    )

    revision = repository.revision
    commit = commit_in_cache(repository.cache, revision)
    # What a commit holds never changes.
    if commit is not None and commit == revision and _is_whole(repository.cache / "snapshots" / commit):
        return _in_cache(repository, commit)
    try:
        info = HfApi(library_name="seesay").model_info(
            repository.name, revision=revision, files_metadata=True, timeout=ANSWER_SECONDS
        )
        sizes = {file.rfilename: file.size for file in info.siblings or ()}
        if not info.sha:
            raise ValueError("it names no commit")
    except (RevisionNotFoundError, HFValidationError):
        raise
    except (OfflineModeIsEnabled, HTTPError) as error:
        failure: Exception = error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        failure = OSError(f"{hub_host()} does not answer as a hub does; check HF_ENDPOINT, or sign in to the network")
        failure.__cause__ = error
    else:
        keep_commit(repository.cache, revision, info.sha)
        return Listing(repository=repository, commit=info.sha, sizes=sizes)
    if commit is None or not (repository.cache / "snapshots" / commit).is_dir():
        raise LocalEntryNotFoundError(str(repository.cache)) from failure
    if not isinstance(failure, OfflineModeIsEnabled):
        say(
            f"{repository}: {hub_host()} does not list its files; those fetched before are used (commit {commit[:12]})."
        )
    return _in_cache(repository, commit, failure=failure)


def _in_cache(repository: Repository, commit: str, *, failure: Exception | None = None) -> Listing:
    folder = repository.cache / "snapshots" / commit
    files = (path for path in folder.rglob("*") if path.is_file())
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    return Listing(repository=repository, commit=commit, sizes=sizes, failure=failure)


def _inside(listing: Listing) -> Listing:
    """The files of the folder in which a `SentenceTransformer` has its CLIP, or all of them."""
    if MODULES not in listing.sizes:
        return listing
    listing.fetch(MODULES)
    if not (inner := clip_folder(listing.folder).relative_to(listing.folder).as_posix().lstrip(".")):
        return listing
    sizes = {
        name.removeprefix(f"{inner}/"): size for name, size in listing.sizes.items() if name.startswith(f"{inner}/")
    }
    return replace(listing, inner=inner, sizes=sizes)


def _is_whole(folder: Path) -> bool:
    """Whether a folder of the cache holds all that is read of a model; others may have fetched a part of it."""
    try:
        folder = clip_folder(folder)
        if not folder.is_dir():
            return False
        layout = layout_in(folder)
        needed: list[tuple[str, ...]] = [] if layout is seesay else [VOCABULARIES]
        if layout.CONFIG_NAME == hf_clip.CONFIG_NAME:
            needed.append(PREPROCESSORS)
        has_companions = all(any((folder / name).is_file() for name in names) for names in needed)
        return has_companions and all(file.is_file() for file in weight_files(folder / layout.WEIGHTS_NAME))
    except RefusedInput:
        return False


def _described(listing: Listing) -> ModuleType:
    """The layout of the model, whose description is fetched for that; those with weights that can be read come first.

    `RefusedInput` for a repository that describes none.
    """
    described = [layout for layout in READERS if layout.CONFIG_NAME in listing.sizes]
    for layout in sorted(described, key=lambda layout: weights_among(listing.sizes, layout.WEIGHTS_NAME) is None):
        listing.fetch(layout.CONFIG_NAME)
        if layout.is_in(listing.folder):
            return layout
    if described:
        return layout_in(listing.folder)
    if listing.failure is not None:
        raise _not_in_cache(listing)
    names = ", ".join(dict.fromkeys(layout.CONFIG_NAME for layout in READERS))
    others = ", ".join(sorted(name for name in listing.sizes if not name.startswith("."))[:SHOWN]) or "nothing"
    raise RefusedInput(f"{listing.repository} holds none of {names}, but {others}; no description, no model to read.")


def _companions(listing: Listing, layout: ModuleType) -> list[str]:
    """What a layout reads beside its description and its weights, as far as the repository has it."""
    if layout is seesay:
        return []
    vocabulary = next((name for name in VOCABULARIES if name in listing.sizes), None)
    merges = ["vocab.json"] if vocabulary == "merges.txt" else []
    images = PREPROCESSORS if layout.CONFIG_NAME == hf_clip.CONFIG_NAME else ()
    names = [TOKENIZER_CONFIG_NAME, *([vocabulary] if vocabulary else []), *merges, *images]
    return [name for name in names if name in listing.sizes]


def _fetch_companions(listing: Listing, layout: ModuleType, tokenizer: Path | None) -> None:
    """Fetch all but the weights and read it: what is refused is refused before gigabytes were fetched for it."""
    for name in _companions(listing, layout):
        listing.fetch(name)
    if not _is_whole(listing.folder):
        with suppress(MissingWeights):
            layout.read(listing.folder, tokenizer=tokenizer)


def _pickles(names: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in names if name.endswith(ENDINGS) and "/" not in name)


def _not_in_cache(listing: Listing) -> Exception:
    from huggingface_hub.errors import LocalEntryNotFoundError

    missing = LocalEntryNotFoundError(str(listing.folder))
    missing.__cause__ = listing.failure
    return missing


def _no_weights(listing: Listing) -> Exception:
    """Why there are no weights to read, with what can be done."""
    if listing.failure is not None:
        return _not_in_cache(listing)
    pickles = _pickles(listing.sizes)
    if not pickles:
        return RefusedInput(f"{listing.repository} describes a model and holds no weights; name another repository.")
    size = listing.sizes[pickles[0]]
    megabytes = f", {size / MEGABYTE:,.0f} MB" if size else ""
    return RefusedInput(
        f"{listing.repository} holds its weights only as a Python pickle ({pickles[0]}{megabytes}), which can run "
        f"code; fetch and convert it in one step with `seesay convert {listing.repository} NEW_FOLDER --from-pickle`."
    )


def _pickle_of(listing: Listing, layout: ModuleType) -> str:
    """The pickle that takes the place of the layout's weights; `RefusedInput` unless there is one, and one alone."""
    stem = layout.WEIGHTS_NAME.removesuffix(".safetensors").removesuffix("model")
    pickles = _pickles(listing.sizes)
    own = [name for name in pickles if name == f"{stem}pytorch_model.bin"] or pickles
    if len(own) == 1:
        return own[0]
    found = f"several, {', '.join(own[:4])}" if own else "none"
    raise RefusedInput(
        f"{listing.repository} has not one pickle with all weights but {found}; name another repository."
    )


def _bar(advance: Callable[[int], None]) -> type:
    """A class in the place of tqdm's, of which `huggingface_hub` makes one for every file."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **options: Any):
            super().__init__(*arguments, **options | {"disable": True})

        def update(self, n: float | None = 1) -> None:
            advance(int(n or 0))

        def update_transfer(self, n: float | None = 1) -> None:
            """Bytes of the network, which are fewer than those of the file where some were there already."""

        def set_transfer_postfix_str(self, *_: Any, **__: Any) -> None:
            """As above."""

    return Bar

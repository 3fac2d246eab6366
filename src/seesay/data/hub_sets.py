"""Data sets of the Hugging Face hub to local Parquet files: the one file that opens the network for data.

A set is written hf:OWNER/NAME:SPLIT, then perhaps ",KEY=VALUE" with the keys "config" (one of several versions of a
set), "image", "label" and "captions" (columns, where they are not plain from the file), as in
hf:uoft-cs/cifar100:test,label=coarse_label. Without a split it is the name of a model.

Read are the Parquet files that the repository holds itself, else those that the hub made of it, at
refs/convert/parquet.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from seesay.base.errors import RefusedInput, UsageError, nearest
from seesay.base.hub import (
    ANSWER_SECONDS,
    HUB,
    check_promised,
    commit_in_cache,
    hub_errors,
    keep_commit,
    transfer_errors,
)

SPELLING = "hf:OWNER/NAME:SPLIT, such as hf:uoft-cs/cifar10:test"
KEYS = ("config", "image", "label", "captions")
REVISIONS = ("main", "refs/convert/parquet")
# data/test-00000-of-00002.parquet, plain_text/test/0001.parquet, test.parquet: what is before the number is the split.
NUMBERED = re.compile(r"^(?P<split>.+?)-(?P<number>\d+)-of-(?P<count>\d+)$")


@dataclass(frozen=True, kw_only=True)
class HubSet:
    """One split of a data set, and the columns to read where they are named."""

    repository: str
    split: str
    config: str | None = None
    image: str | None = None
    label: str | None = None
    captions: str | None = None

    @property
    def name(self) -> str:
        """How results call it: the repository without its owner, and the split."""
        return f"{self.repository.rpartition('/')[2]}:{self.split}"

    def __str__(self) -> str:
        options = [f",{key}={value}" for key in KEYS if (value := getattr(self, key)) is not None]
        return f"{HUB}{self.repository}:{self.split}{''.join(options)}"


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A Parquet file of a repository; `number` of `count` where its name says so."""

    path: str
    config: str
    split: str
    number: int = 0
    count: int = 1


def is_hub_set(source: str | Path) -> bool:
    """Whether a source is written as a set of the hub; hf:OWNER/NAME alone is a model."""
    return str(source).startswith(HUB) and ":" in str(source)[len(HUB) :]


def read_name(source: str | Path) -> HubSet:
    """The set that is written so; `UsageError` for what is not."""
    words, *options = str(source).removeprefix(HUB).split(",")
    repository, _, split = words.rpartition(":")
    pairs = [option.partition("=") for option in options]
    chosen = {key.strip(): value.strip() for key, _, value in pairs}
    if unknown := [key for key in chosen if key not in KEYS]:
        raise UsageError(f"{str(source)!r}: {unknown[0]!r} is none of {', '.join(KEYS)}.{nearest(unknown[0], KEYS)}")
    if not repository or not split or ":" in repository or not all(chosen.values()):
        raise UsageError(f"{str(source)!r} should be written {SPELLING}; further words as ,config=NAME.")
    return HubSet(repository=repository, split=split, **chosen)


def fetch(wanted: HubSet) -> list[Path]:
    """The Parquet files of a split in order; fetched unless they are in the cache already.

    Raises what `hub_errors` does, and `UsageError` for a set without that split, or with several versions of it.
    """
    with hub_errors(wanted.repository, "data set"):
        found: list[Shard] = []
        for revision in REVISIONS:
            commit, shards = _listed(wanted.repository, revision)
            if mine := chosen_shards(shards, wanted):
                return [_fetched(wanted.repository, shard.path, commit) for shard in mine]
            found += shards
    configs, splits = sorted({shard.config for shard in found}), sorted({shard.split for shard in found})
    if not found:
        raise UsageError(f"{HUB}{wanted.repository} has no Parquet files; name another repository.")
    if wanted.config is not None and wanted.config not in configs:
        raise UsageError(f"{wanted} has no config {wanted.config!r}; it has {', '.join(configs)}.")
    raise UsageError(
        f"{wanted} has no split {wanted.split!r}; it has {', '.join(splits)}.{nearest(wanted.split, splits)}"
    )


def splits_of(wanted: HubSet) -> set[str]:
    """The splits that there are of a set."""
    with hub_errors(wanted.repository, "data set"):
        return {shard.split for revision in REVISIONS for shard in _listed(wanted.repository, revision)[1]}


def shard_of(path: str) -> Shard | None:
    """What the path of a Parquet file says; None for another file.

    The folder data/ is no config; nor is a folder that is the split itself.
    """
    source = PurePosixPath(path)
    if source.suffix != ".parquet":
        return None
    folders = [folder for folder in source.parts[:-1] if folder != "data"]
    if numbered := NUMBERED.match(source.stem):
        number, count = int(numbered["number"]), int(numbered["count"])
        return Shard(path=path, config="/".join(folders), split=numbered["split"], number=number, count=count)
    if source.stem.isdecimal() and folders:
        return Shard(path=path, config="/".join(folders[:-1]), split=folders[-1])
    return Shard(path=path, config="/".join(folders), split=source.stem)


def chosen_shards(shards: Iterable[Shard], wanted: HubSet) -> list[Shard]:
    """Those of the split in order, of one config; none where there are none."""
    mine = [shard for shard in shards if shard.split == wanted.split and wanted.config in (None, shard.config)]
    configs = sorted({shard.config for shard in mine})
    if len(configs) > 1:
        if "default" not in configs:
            raise UsageError(f"{wanted} has several versions; name one: {', '.join(f'config={c}' for c in configs)}.")
        mine = [shard for shard in mine if shard.config == "default"]
    if mine and {shard.number for shard in mine} != set(range(mine[0].count)) and mine[0].count > 1:
        raise RefusedInput(f"{wanted} is not whole: {len(mine)} of {mine[0].count} files; fetch it with a network.")
    return sorted(mine, key=lambda shard: shard.path)


def _listed(repository: str, revision: str) -> tuple[str, list[Shard]]:
    """The commit that a revision is at, and its Parquet files; those in the cache where there is no network."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage]
        OfflineModeIsEnabled,
        RevisionNotFoundError,
    )
    from huggingface_hub.file_download import repo_folder_name

    cache = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="dataset")
    try:
        info = HfApi(library_name="seesay").dataset_info(repository, revision=revision, timeout=ANSWER_SECONDS)
        if info.sha:
            keep_commit(cache, revision, info.sha)
        return info.sha or revision, _shards(file.rfilename for file in info.siblings or ())
    except RevisionNotFoundError:
        return revision, []
    except HfHubHTTPError:
        raise
    except (OfflineModeIsEnabled, HTTPError) as error:
        return _listed_in_cache(cache, revision, error)


def _listed_in_cache(cache: Path, revision: str, error: Exception) -> tuple[str, list[Shard]]:
    from huggingface_hub.errors import LocalEntryNotFoundError

    if not (cache / "refs").is_dir():
        raise LocalEntryNotFoundError(str(cache)) from error
    commit = commit_in_cache(cache, revision)
    if commit is None:
        return revision, []
    folder = cache / "snapshots" / commit
    return commit, _shards(path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet"))


def _shards(paths: Iterable[str]) -> list[Shard]:
    return [shard for path in sorted(paths) if (shard := shard_of(path)) is not None]


def _fetched(repository: str, name: str, commit: str) -> Path:
    from huggingface_hub import hf_hub_download

    with transfer_errors(repository):
        path = Path(hf_hub_download(repository, name, repo_type="dataset", revision=commit, library_name="seesay"))
    check_promised(path)
    return path

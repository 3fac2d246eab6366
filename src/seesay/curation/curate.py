"""A pool of captions and images to a training set, stage by stage; the public `seesay.curate`.

Each stage leaves a table in FOLDER/stages and its counts; a run that was stopped or killed goes on where it was, and a
setting that is changed begins anew at the first stage that it concerns.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from seesay.base.errors import SeesayError, UsageError
from seesay.base.journal import Journal
from seesay.base.names import no_empty_names
from seesay.base.publish import refuse_unwritable
from seesay.base.settings import merged, read_settings
from seesay.base.streams import say
from seesay.base.values import reasons_in_words, table
from seesay.curation.balance import balance_stage
from seesay.curation.card import write_card
from seesay.curation.dedup import dedup_stage
from seesay.curation.engine import RayEngine, Work
from seesay.curation.fetch import fetch_stage
from seesay.curation.filter import filter_stage
from seesay.curation.match import match_counts, match_stage
from seesay.curation.outcome import (
    PAIRS_FILE,
    QUERIES_FILE,
    SHARDS_FOLDER,
    inputs_of,
    pairs_in_order,
    shard_tables,
    write_outcome,
)
from seesay.curation.queries import Query, read_queries
from seesay.curation.settings import CurateSettings
from seesay.curation.shards import BEGUN_FILE, write_shards
from seesay.curation.spacing import can_match
from seesay.curation.stages import Counts, Elsewhere, Parts, Stage, read_tables, refuse_foreign, run_stage
from seesay.curation.tables import Tables

STAGES_FOLDER = "stages"
ENGINES = ("local", "ray")


@dataclass(frozen=True, kw_only=True, eq=False)
class Curation:
    """A training set that was curated: its `folder`, and what each stage let through, in order.

    Example: print(seesay.curate("pool.parquet", queries="queries.tsv", out="set"))
    """

    folder: Path
    counts: tuple[Counts, ...]

    def __len__(self) -> int:
        return self.counts[-1].out

    def __str__(self) -> str:
        return table(("stage", "in", "out", "left out"), [_words(counts) for counts in self.counts], left=1)


@no_empty_names
def curate(
    tables: str | Path | Sequence[str | Path],
    *,
    queries: str | Path | None = None,
    out: str | Path,
    per_query: int | None = None,
    balance: str | None = None,
    stages: Sequence[str] | None = None,
    clip_score: str | None = None,
    against: str | Sequence[str] = (),
    image_size: int | None = None,
    allow_private: str | Sequence[str] = (),
    retry_failed: bool = False,
    engine: str = "local",
    overrides: Sequence[str] = (),
) -> Curation:
    """Make a training set of tables of pairs, in the folder `out`; the same call goes on where it was stopped.

    `tables` are Parquet, CSV, TSV, JSON lines with the columns `caption`, and `url` or `path`, or tar shards. `queries`
    is a list of `seesay.queries`. `stages`, of match, balance, fetch, filter, dedup and shards, are done in their
    order. `clip_score` names a model to score pairs by, `against` evaluation sets whose images must not be in the set.
    With `retry_failed` URLs that a run before could not reach, or whose server was busy or failed, are tried again.
    `engine` is local, or ray: what looks at a part of the rows alone is then done on a Ray cluster, by Daft.
    `overrides` are settings as "filter.least_side=100". Raises `UsageError` for arguments that do not fit,
    `RefusedInput` for tables that are none, `StorageError` where the disk refuses.

    Example: `seesay.curate("pool.parquet", queries="queries.tsv", out="set", per_query=1000)`
    """
    named = {
        "stages": None if stages is None else list(stages),
        "balance": {"per_query": per_query, "how": balance},
        "filter": {"model": clip_score},
        "image": {"size": image_size},
        "dedup": {"against": listed(against) or None},
        "fetch": {"allow_private": listed(allow_private) or None},
    }
    settings = read_settings(CurateSettings, file=None, overrides=listed(overrides), base=merged({}, named))
    _refuse_unused(settings.stages, queries=queries, retry_failed=retry_failed, engine=engine)
    pool = Tables([tables] if isinstance(tables, str | Path) else list(tables))
    known = read_queries(queries) if queries is not None else []
    refuse_own_results(folder := Path(out), pool.paths)
    refuse_unwritable(folder)
    # All of them before any work: what one cannot use, a list or set that is not there, is refused at once.
    made = {name: make_stage(name, known, settings) for name in settings.stages if name != "shards"}
    if notes := [*pool.notes, *_notes(folder, known, settings)]:
        say(*notes)
    inputs = inputs_of(pool.paths, None if queries is None else Path(queries), settings)
    plan = _Plan(
        pool=pool,
        queries=known,
        queries_file=None if queries is None else Path(queries).absolute(),
        settings=settings,
        stages=made,
        inputs=inputs,
        retry=retry_failed,
        engine=RayEngine() if engine == "ray" else None,
    )
    with Journal(folder) as journal:
        return _run(plan, journal)


def _refuse_unused(stages: Sequence[str], *, queries: str | Path | None, retry_failed: bool, engine: str) -> None:
    """`UsageError` for what a stage lacks, and for what is named and would say nothing."""
    if engine not in ENGINES:
        raise UsageError(f"--engine is {engine!r}; it is {' or '.join(ENGINES)}.")
    if "match" in stages and queries is None:
        raise UsageError(
            "stage 'match' needs a list of queries; name it with --queries, or leave match out of --stages."
        )
    if queries is not None and "match" not in stages:
        raise UsageError(
            f"{queries} is for the stage match, which is not among the stages; add it, or name no queries."
        )
    if retry_failed and "fetch" not in stages:
        raise UsageError("--retry-failed is for the stage fetch, which is not among the stages; add it.")


def _notes(folder: Path, queries: Sequence[Query], settings: CurateSettings) -> list[str]:
    """What a user should know before the run."""
    notes = []
    if without := sum(not can_match(query.text) for query in queries):
        notes.append(
            f"{without:,} of {len(queries):,} queries can stand in no caption, by the spaces and marks in them."
        )
    for stage, name in (("shards", SHARDS_FOLDER), ("match", QUERIES_FILE)):
        if stage not in settings.stages and (folder / name).exists():
            notes.append(f"{folder / name} is of an earlier run, and stays as it is.")
    return notes


def listed(words: str | Sequence[str]) -> list[str]:
    """One word or several as a list."""
    return [words] if isinstance(words, str) else list(words)


def refuse_own_results(folder: Path, tables: Sequence[Path]) -> None:
    """`UsageError` for tables that the run would write over, `RefusedInput` for a folder of shards that is not ours."""
    for path in tables:
        inside = (
            path.resolve().relative_to(folder.resolve()).parts
            if path.resolve().is_relative_to(folder.resolve())
            else ()
        )
        if inside[:1] in ((STAGES_FOLDER,), (SHARDS_FOLDER,)) or inside == (PAIRS_FILE,):
            raise UsageError(f"{path} lies where the set is to be written, {folder}; choose another --out.")
    refuse_foreign(folder / SHARDS_FOLDER / BEGUN_FILE)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What a run is to do: `stages` by their names, each taken out when it is done, with the models that it holds."""

    pool: Tables
    queries: Sequence[Query]
    queries_file: Path | None
    settings: CurateSettings
    stages: dict[str, Stage]
    inputs: Mapping[str, Any]
    retry: bool
    engine: RayEngine | None

    def elsewhere(self, name: str) -> Elsewhere | None:
        """What makes the parts of a stage in other processes."""
        if self.engine is None:
            return None
        # A part is compared with evaluation sets where all parts are.
        settings = self.settings.model_dump_json(exclude_unset=True, exclude={"dedup": {"against"}})
        queries = None if self.queries_file is None or name != "match" else str(self.queries_file)
        return functools.partial(
            self.engine.make, Work(stage=name, make=make_stage, settings=settings, queries=queries)
        )


def _run(plan: _Plan, journal: Journal) -> Curation:
    folder, settings = journal.folder, plan.settings
    parts, counts = read_tables(plan.pool, folder / STAGES_FOLDER / "0-read", rows=settings.rows)
    every = [counts]
    names = pa.array([query.text for query in plan.queries], pa.string())
    pairs, matched = None, []
    for number, name in enumerate(settings.stages, 1):
        if name == "shards":
            counts = write_shards(folder / SHARDS_FOLDER, parts, names, settings)
            pairs = shard_tables(folder / SHARDS_FOLDER)
        else:
            stage_folder = folder / STAGES_FOLDER / f"{number}-{name}"
            stage, elsewhere = plan.stages.pop(name), plan.elsewhere(name)
            parts, counts = run_stage(stage, parts, stage_folder, retry=plan.retry, elsewhere=elsewhere)
        if name == "filter":
            counts = _with_unseen(counts, parts)
        every.append(counts)
        journal.event(event="stage", **counts.to_json())
        if name == "match":
            matched = match_counts(parts, len(plan.queries))
    rows = pairs or pairs_in_order(parts, names)
    facts = write_outcome(folder, rows, plan.queries, every, settings, inputs=plan.inputs, matched=matched)
    write_card(folder, facts)
    if not counts.out:
        last = next(each for each in every if not each.out)
        reasons = reasons_in_words(last.left_out)
        raise SeesayError(
            f"no pair is left after the stage {last.name} ({reasons}); {folder}/counts.json has every step."
        )
    return Curation(folder=folder, counts=tuple(every))


def _with_unseen(counts: Counts, parts: Parts) -> Counts:
    """The counts of the filter with the pairs that passed before their image was there, if there are any."""
    if not (unseen := sum(table["width"].null_count for table in parts.tables(["width"]))):
        return counts
    say(f"filter: {unseen:,} pairs have no image yet, so that no rule on images was held to them.")
    return replace(counts, facts={**counts.facts, "without_image": unseen})


_MAKERS: dict[str, Callable[[Sequence[Query], CurateSettings], Stage]] = {
    "match": lambda queries, settings: match_stage(queries, settings.match),
    "balance": lambda queries, settings: balance_stage(queries, settings.balance),
    "fetch": lambda queries, settings: fetch_stage(settings),
    "filter": lambda queries, settings: filter_stage(settings.filter),
    "dedup": lambda queries, settings: dedup_stage(settings.dedup),
}


def make_stage(name: str, queries: Sequence[Query], settings: CurateSettings) -> Stage:
    """The stage of that name, which may load models and read lists and sets; raises what those do."""
    return _MAKERS[name](queries, settings)


def _words(counts: Counts) -> tuple[str, ...]:
    return (counts.name, f"{counts.rows:,}", f"{counts.out:,}", reasons_in_words(counts.left_out))

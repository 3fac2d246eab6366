"""How a stage is run and leaves its table: part by part, each durable, so that a killed run goes on with the next.

FOLDER/stages/2-balance/
    stage.json            what the parts are made of; with another fingerprint the folder is begun anew
    measured/00000.parquet  in stages that decide over all rows: what was measured of those of a part
    00000.parquet         the rows of a part; `left_out` says why a row goes no further
    done.json             counts of all parts; written last

A part is what the part before it became, so that its number is the same in every stage. Counts of a part stand in its
own file.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import parquet

from seesay.base.errors import RefusedInput
from seesay.base.journal import progress
from seesay.base.publish import publish_file, remove_stale, storage_errors
from seesay.base.settings import Settings
from seesay.base.streams import say
from seesay.curation.tables import Tables, reasons_in, survivors, with_image_files
from seesay.data.parquet_pages import open_parquet_file, refused

# Of the files that are described above; another one begins anew.
FORMAT = 1
COUNTS = b"seesay"
_COUNTED = ("stage", "in", "out", "left_out")
MEASURED, STAGE_FILE, DONE_FILE = "measured", "stage.json", "done.json"
Measure = Callable[[pa.Table, Path], pa.Table]
Finish = Callable[[int, pa.Table], pa.Table]
Again = Callable[[pa.Table, Path], tuple[pa.Table, int] | None]
Elsewhere = Callable[[Sequence[Path], Path, Sequence[int]], None]


class Decision(NamedTuple):
    """What finishes each part, and what counts.json and the card say of all of them."""

    finish: Finish
    facts: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Rows that came into a stage, those that went on, the others by reason, and what else there is to say."""

    name: str
    rows: int
    out: int
    left_out: Counter[str]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values, reasons most frequent first."""
        ranked = dict(sorted(self.left_out.items(), key=lambda item: (-item[1], item[0])))
        return {"stage": self.name, "in": self.rows, "out": self.out, "left_out": ranked, **self.facts}


class Parts:
    """The parts that a stage left."""

    def __init__(self, paths: Sequence[Path], fingerprint: str):
        self.paths = list(paths)
        self.fingerprint = fingerprint

    def __len__(self) -> int:
        return len(self.paths)

    def table(self, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of a part that go on, in their order; `RefusedInput` where the file is damaged."""
        return survivors(self.whole(number, columns)).combine_chunks()

    def whole(self, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of a part, also those that are left out."""
        wanted = None if columns is None else list(dict.fromkeys([*columns, "left_out"]))
        with open_parquet_file(self.paths[number]) as file, refused(self.paths[number]):
            table = file.read(columns=wanted).replace_schema_metadata(None)
        home = _home(self.paths[number])
        return with_image_files(table, lambda name: os.path.join(home, name))

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows of every part that go on."""
        return (self.table(number, columns) for number in range(len(self)))

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns, which are the same in every part."""
        with open_parquet_file(self.paths[0]) as file, refused(self.paths[0]):
            return file.schema_arrow.remove_metadata()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a stage does. `measure` adds columns to a part and may leave rows out; it gets the path of its part.

    `decide` looks at all parts that were measured. `facts` are what its result depends on
    beside its settings, but for those that are `neutral`. With `is_dropping` rows that are left out are not in its
    table, only in its counts. `again` gives a part after what failed was tried once more, and how many rows that
    brought; None where there is nothing to try.
    """

    name: str
    settings: Settings
    measure: Measure | None = None
    decide: Callable[[Parts], Decision] | None = None
    facts: str = ""
    is_dropping: bool = False
    neutral: frozenset[str] = frozenset()
    again: Again | None = None


def read_tables(tables: Tables, folder: Path, *, rows: int) -> tuple[Parts, Counts]:
    """The rows of the tables as the parts of a stage, each of so many rows."""
    stage = Stage(name="read", settings=Settings(), facts=f"{tables.fingerprint} {rows}", is_dropping=True)
    fingerprint = _begin(stage, folder, before="")
    if (done := _done(stage, folder, fingerprint)) is not None:
        return done
    count = 0
    for number, table in enumerate(tables.parts(rows)):
        count = number + 1
        if not _part(folder, number).is_file():
            _write(_part(folder, number), table, stage)
    if not count:
        raise RefusedInput(f"{', '.join(map(str, tables.paths))} has no row.")
    return _end(stage, folder, fingerprint, lost=tables.lost)


def run_stage(
    stage: Stage, before: Parts, folder: Path, *, retry: bool = False, elsewhere: Elsewhere | None = None
) -> tuple[Parts, Counts]:
    """Do a stage, or what is left of it; with `retry` also again what failed in the parts that are there.

    `elsewhere` makes the parts of such numbers from their sources in a folder; what is missing then is made here.
    """
    fingerprint = _begin(stage, folder, before=before.fingerprint)
    failed = [n for n in range(len(before)) if retry and stage.again is not None and _part(folder, n).is_file()]
    if not failed and (done := _done(stage, folder, fingerprint)) is not None:
        return done
    source, facts = before, {}
    if stage.measure is not None:
        target = folder if stage.decide is None else folder / MEASURED
        target.mkdir(parents=True, exist_ok=True)
        missing = [n for n in range(len(before)) if not _part(target, n).is_file()]
        if elsewhere is not None and missing:
            elsewhere(before.paths, target, missing)
        _map(len(before), stage, target, lambda number: make_part(stage, before.paths[number], target, number))
        source = Parts(_part_paths(target), before.fingerprint)
    if stage.decide is not None:
        measured, (finish, facts) = source, stage.decide(source)
        is_whole = stage.measure is not None

        def finished(number: int) -> None:
            table = measured.whole(number) if is_whole else measured.table(number)
            _write(_part(folder, number), finish(number, table), stage)

        _map(len(before), stage, folder, finished)
    if failed and stage.again is not None:
        fingerprint = _tried_again(stage, stage.again, folder, failed, fingerprint)
    return _end(stage, folder, fingerprint, facts=facts)


def make_part(stage: Stage, source: Path, folder: Path, number: int) -> None:
    """What the stage measures of the part in `source`, as the part of that number in `folder`."""
    path = _part(folder, number)
    table = (stage.measure or _as_it_is)(Parts([source], "").table(0), path)
    _write(path, table, stage, is_dropping=folder.name != MEASURED and stage.is_dropping)


def _as_it_is(table: pa.Table, _: Path) -> pa.Table:
    return table


def _map(count: int, stage: Stage, folder: Path, make: Callable[[int], None]) -> None:
    """Make the parts that are not in `folder` yet."""
    with progress(count, stage.name) as advance:
        for number in range(count):
            if not _part(folder, number).is_file():
                make(number)
            advance(1)


def _tried_again(stage: Stage, again: Again, folder: Path, failed: Sequence[int], fingerprint: str) -> str:
    """Try again what failed in these parts; returns the fingerprint, another one where a row more came of it."""
    tried = came = 0
    with progress(len(failed), f"{stage.name} again") as advance:
        for number in failed:
            path = _part(folder, number)
            if (found := again(Parts([path], fingerprint).whole(0), path)) is not None:
                table, images = found
                if images and not came:
                    # Before any part is another one: what later stages made of the old ones is then not taken for done.
                    facts = read_json(folder / STAGE_FILE)
                    publish_file(folder / STAGE_FILE, _json({**facts, "retries": facts.get("retries", 0) + 1}))
                tried, came = tried + 1, came + images
                _write(path, table, stage)
            advance(1)
    say(f"{stage.name}: {came:,} rows came of what had failed before, in {tried:,} of {len(failed):,} parts.")
    return _fingerprint_in(folder)


def _fingerprint_in(folder: Path) -> str:
    """What the parts of a stage are made of, and how often they changed since."""
    facts = read_json(folder / STAGE_FILE)
    retries = facts.get("retries", 0)
    return f"{facts['fingerprint']} {retries}" if retries else facts["fingerprint"]


def _begin(stage: Stage, folder: Path, *, before: str) -> str:
    """The fingerprint of a stage; its folder is emptied where it holds another one."""
    settings = json.dumps(stage.settings.model_dump(mode="json", exclude=set(stage.neutral)), sort_keys=True)
    words = f"{FORMAT}\n{before}\n{stage.name}\n{settings}\n{stage.facts}"
    fingerprint = hashlib.sha256(words.encode("utf-8", "surrogateescape")).hexdigest()
    facts = {"fingerprint": fingerprint, "stage": stage.name, "settings": json.loads(settings)}
    begin_folder(folder / STAGE_FILE, facts)
    remove_stale(folder / MEASURED)
    return _fingerprint_in(folder)


def begin_folder(begun: Path, facts: Mapping[str, Any]) -> None:
    """Make the folder of the file `begun` ready for what has the fingerprint in `facts`; what has another one goes.

    Raises `RefusedInput` for a folder that holds files and was not begun here.
    """
    folder = begun.parent
    with storage_errors(folder):
        remove_stale(folder)
        refuse_foreign(begun)
        found = read_json(begun)
        if found.get("fingerprint") == facts["fingerprint"]:
            return
        # Whoever is stopped here leaves a folder that is ours, and done with nothing.
        publish_file(begun, _json({}))
        others = [path for path in folder.iterdir() if path != begun]
        if any(path.suffix == ".parquet" for path in others):
            say(f"{folder} is begun anew: it was made from something else, or with other settings.")
        for path in others:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        publish_file(begun, _json(facts))


def refuse_foreign(begun: Path) -> None:
    """`RefusedInput` where the folder of `begun` has files but not this one, which is the first that a run writes."""
    folder = begun.parent
    others = sorted(path.name for path in folder.iterdir()) if folder.is_dir() and not begun.exists() else []
    if others:
        raise RefusedInput(
            f"{folder} would be emptied, but holds {others[0]!r}, which no run wrote; choose another --out, or move it."
        )


def _done(stage: Stage, folder: Path, fingerprint: str) -> tuple[Parts, Counts] | None:
    """What a stage left that was done before."""
    found = read_json(folder / DONE_FILE)
    if found.get("fingerprint") != fingerprint:
        return None
    rows, out, left_out = found["in"], found["out"], Counter(found["left_out"])
    facts = {name: value for name, value in found.items() if name not in ("fingerprint", *_COUNTED)}
    counts = Counts(name=stage.name, rows=rows, out=out, left_out=left_out, facts=facts)
    return Parts(_part_paths(folder), fingerprint), counts


def _end(
    stage: Stage,
    folder: Path,
    fingerprint: str,
    *,
    lost: Mapping[str, int] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> tuple[Parts, Counts]:
    """Add up the counts of all parts and of what is `lost` before, and write that the stage is done."""
    left_out = Counter(lost or {})
    rows = left_out.total()
    paths = _part_paths(folder)
    for path in paths:
        with open_parquet_file(path) as file, refused(path):
            found = json.loads((file.schema_arrow.metadata or {})[COUNTS])
        rows += found["in"]
        left_out.update(found["left_out"])
    out = rows - left_out.total()
    counts = Counts(name=stage.name, rows=rows, out=out, left_out=left_out, facts=facts or {})
    publish_file(folder / DONE_FILE, _json({"fingerprint": fingerprint, **counts.to_json()}))
    return Parts(paths, fingerprint), counts


def _write(path: Path, table: pa.Table, stage: Stage, *, is_dropping: bool | None = None) -> None:
    """A part, durably and whole, with its counts."""
    counts = {"in": len(table), "left_out": reasons_in(table)}
    if stage.is_dropping if is_dropping is None else is_dropping:
        table = survivors(table)
    home = os.path.join(_home(path), "")
    table = with_image_files(table, lambda name: name.removeprefix(home))
    publish_file(path, parquet_bytes(table.replace_schema_metadata({COUNTS: json.dumps(counts)})))


def _home(path: Path) -> str:
    """The folder of all stages of a part, from where images that were fetched are named: it may be moved."""
    folder = path.absolute().parent
    return str((folder.parent if folder.name == MEASURED else folder).parent)


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file, the same bytes for the same rows."""
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def _part(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.parquet"


def _part_paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"), key=lambda path: int(path.stem))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def read_json(path: Path) -> dict[str, Any]:
    """A file of our own; empty where it is not there or was not written by us."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}

"""Which images are there twice, byte for byte, pixel for pixel, or to the eye; and which are in an evaluation set.

To the eye is what `data.duplicates` says: the same image saved again, also at another size or quality, but no crops or
mirrored copies. Of images that are the same the pair with the smallest key stays, in whatever order they came. All are
in memory at once by their hashes: some 300 bytes each.

N = images, those of evaluation sets first.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from seesay.base.errors import BrokenSample
from seesay.base.journal import progress
from seesay.base.records import Skipped
from seesay.base.streams import say
from seesay.curation.images import map_images
from seesay.curation.settings import DedupSettings
from seesay.curation.stages import Finish, Parts, Stage
from seesay.curation.tables import with_reasons
from seesay.data.decode import decode
from seesay.data.duplicates import GRID, alike_groups, equal_groups, looks
from seesay.data.evalsets import name_of_set, open_evalset
from seesay.data.labelled import LabelledSet
from seesay.data.sources import count_reasons

BYTES, PIXELS, NEAR = "same bytes", "same pixels", "looks the same"
COLOUR_BYTES = 3 * GRID * GRID


class Print(NamedTuple):
    """What an image is compared by: SHA-256 of bytes and of pixels, and what `looks` gives."""

    sha256: bytes
    pixels: bytes
    look: int
    colours: bytes


def print_of(data: bytes) -> Print:
    """Raises as `decode`."""
    image_HW3 = decode(data)
    pixels = hashlib.sha256(repr(image_HW3.shape).encode() + image_HW3.tobytes()).digest()
    look, colours = looks(image_HW3)
    return Print(hashlib.sha256(data).digest(), pixels, look, colours.tobytes())


COLUMNS = {
    "sha256": pa.binary(32),
    "pixels": pa.binary(32),
    "look": pa.uint64(),
    "colours": pa.binary(COLOUR_BYTES),
}


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The images of an evaluation set."""

    name: str
    keys: tuple[str, ...]
    prints: tuple[Print, ...]


def dedup_stage(settings: DedupSettings) -> Stage:
    """Adds `sha256` and `copy_of`, the key of the pair or image whose image a row's is, which then goes no further."""
    references = [read_reference(source) for source in settings.against]

    def measure(table: pa.Table, _: Path) -> pa.Table:
        found = [found for _, found in map_images(table.to_pylist(), print_of)]
        for number, (name, kind) in enumerate(COLUMNS.items()):
            values = [None if isinstance(each, BrokenSample) else each[number] for each in found]
            table = table.append_column(name, pa.array(values, kind))
        return with_reasons(table, (each.reason if isinstance(each, BrokenSample) else None for each in found))

    digest = hashlib.sha256()
    for reference in references:
        digest.update(repr((reference.name, reference.keys, reference.prints)).encode("utf-8", "surrogatepass"))
    return Stage(
        name="dedup",
        settings=settings,
        measure=measure,
        decide=lambda parts: without_copies(parts, references, is_near=settings.is_near),
        facts=digest.hexdigest(),
    )


def read_reference(source: str) -> Reference:
    """Every image of an evaluation set, labelled or captioned; those that cannot be read are counted in a message."""
    opened = open_evalset(source)
    keys, prints, skipped = [], [], []
    with progress(len(opened), f"against {name_of_set(source)}") as advance:
        for index in range(len(opened)):
            try:
                data = opened.image(index) if isinstance(opened, LabelledSet) else opened[index].image
                prints.append(print_of(data))
                keys.append(opened.key(index))
            except BrokenSample as error:
                skipped.append(Skipped(key=opened.key(index), reason=error.reason))
            advance(1)
    if skipped:
        say(f"{source}: {len(skipped)} of {len(opened)} images cannot be compared ({count_reasons(skipped)}).")
    return Reference(name=opened.name, keys=tuple(keys), prints=tuple(prints))


def without_copies(parts: Parts, references: Sequence[Reference], *, is_near: bool) -> Finish:
    """What leaves copies out of each part, with the reason and what each is a copy of."""
    copies, keys = find_copies(parts, references, is_near=is_near)
    firsts = np.cumsum([0, *(len(each) for each in keys)])

    def finish(number: int, table: pa.Table) -> pa.Table:
        own = copies[firsts[number] : firsts[number + 1]]
        copy_of = with_reasons(table, (None if each is None else each[1] for each in own))["left_out"]
        broken = table["left_out"].is_valid().to_pylist()
        values = [None if is_broken else each for is_broken, each in zip(broken, copy_of.to_pylist(), strict=True)]
        table = with_reasons(table, (None if each is None else each[0] for each in own))
        return table.append_column("copy_of", pa.array(values, pa.string()))

    return finish


def find_copies(
    parts: Parts, references: Sequence[Reference], *, is_near: bool
) -> tuple[list[tuple[str, str] | None], list[list[bytes]]]:
    """For each pair, part by part, why it is a copy and of what, or None; and the keys of each part."""
    tables = list(parts.tables(["key", *COLUMNS]))
    keys = [table["key"].to_pylist() for table in tables]
    flat = [key for part in keys for key in part]
    names = [(f"in {each.name}", key) for each in references for key in each.keys]
    prints: dict[str, list[Any]] = {
        name: [each[n] for reference in references for each in reference.prints] for n, name in enumerate(COLUMNS)
    }
    for table in tables:
        for name in COLUMNS:
            prints[name] += table[name].to_pylist()
    # Groups are looked for in the order of keys, so that the order of the tables has no part in them.
    order = [*range(len(names)), *(len(names) + n for n in sorted(range(len(flat)), key=lambda n: (flat[n], n)))]
    copies: list[tuple[str, str] | None] = [None] * len(flat)
    for reason, column in ((BYTES, "sha256"), (PIXELS, "pixels"), (NEAR, "look"))[: 3 if is_near else 2]:
        alive = [n for n in order if n < len(names) or copies[n - len(names)] is None]
        values = [prints[column][n] for n in alive]
        if not alive:
            continue
        if column == "look":
            colours = np.frombuffer(b"".join(prints["colours"][n] for n in alive), np.uint8)
            groups = alike_groups(np.array(values, np.uint64), colours.reshape(-1, GRID, GRID, 3))
        else:
            groups = equal_groups(np.array(values, "S32"))
        for group in groups:
            # The first of a group is in an evaluation set, or has the smallest key.
            members = sorted(group.tolist())
            first = alive[members[0]]
            where, original = names[first] if first < len(names) else ("", flat[first - len(names)].hex())
            for member in members[1:]:
                if alive[member] >= len(names):
                    copies[alive[member] - len(names)] = (f"{reason} {where}".rstrip(), original)
    return copies, keys

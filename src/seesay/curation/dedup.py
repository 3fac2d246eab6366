"""Which images are there twice, byte for byte, pixel for pixel, or to the eye; and which are in an evaluation set.

To the eye is what `data.duplicates` says: the same image saved again, also at another size or quality, but no crops or
mirrored copies; with a model images are compared by its embeddings too, all with all. Of images that are the same the
pair with the smallest key stays, in whatever order they came. All are in memory at once by their hashes: some 300 bytes
each, and an embedding.

N = images, those of evaluation sets first; D = features of an embedding.
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
from seesay.curation.scores import Encoder, copies_by_cosine, encoder, images_of
from seesay.curation.settings import DedupSettings
from seesay.curation.stages import Finish, Parts, Stage
from seesay.curation.tables import with_reasons
from seesay.data.decode import decode
from seesay.data.duplicates import GRID, alike_groups, equal_groups, looks
from seesay.data.evalsets import name_of_set
from seesay.data.sources import count_reasons

BYTES, PIXELS, NEAR, CLOSE = "same bytes", "same pixels", "looks the same", "close by the model"
MANY = "same bytes as many"
COLOUR_BYTES = 3 * GRID * GRID


class Print(NamedTuple):
    """What an image is compared by: SHA-256 of bytes and of pixels, and what `looks` gives."""

    sha256: bytes
    pixels: bytes
    look: int
    colours: bytes
    embedding: bytes | None = None


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
    "embedding": pa.binary(),
}


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The images of an evaluation set."""

    name: str
    keys: tuple[str, ...]
    prints: tuple[Print, ...]


def dedup_stage(settings: DedupSettings) -> Stage:
    """Adds `sha256` and `copy_of`, the key of the pair or image whose image a row's is, which then goes no further."""
    model = encoder(settings.model) if settings.model is not None else None
    references = [read_reference(source, model) for source in settings.against]

    def measure(table: pa.Table, _: Path) -> pa.Table:
        rows = table.to_pylist()
        found: list[Print | BrokenSample] = [found for _, found in map_images(rows, print_of)]
        if model is not None:
            good = [n for n, each in enumerate(found) if not isinstance(each, BrokenSample)]
            for n, each in zip(good, model.rows([rows[n] for n in good]), strict=True):
                found[n] = with_embedding(found[n], each if isinstance(each, BrokenSample) else each.image_D)
        for number, (name, kind) in enumerate(COLUMNS.items()):
            values = [None if isinstance(each, BrokenSample) else each[number] for each in found]
            table = table.append_column(name, pa.array(values, kind))
        return with_reasons(table, (each.reason if isinstance(each, BrokenSample) else None for each in found))

    digest = hashlib.sha256(b"" if model is None else model.fingerprint.encode())
    for reference in references:
        digest.update(repr((reference.name, reference.keys, reference.prints)).encode("utf-8", "surrogatepass"))
    return Stage(
        name="dedup",
        settings=settings,
        measure=measure,
        decide=lambda parts: without_copies(parts, references, settings),
        facts=digest.hexdigest(),
    )


def with_embedding(found: Print | BrokenSample, embedding_D: np.ndarray | BrokenSample) -> Print | BrokenSample:
    """An image's prints with its unit embedding (D,) float32, or why either cannot be had."""
    if isinstance(found, BrokenSample):
        return found
    return embedding_D if isinstance(embedding_D, BrokenSample) else found._replace(embedding=embedding_D.tobytes())


def read_reference(source: str, model: Encoder | None = None) -> Reference:
    """Every image of an evaluation set, labelled or captioned; those that cannot be read are counted in a message."""
    name, keys, images = images_of(source)
    found: list[Print | BrokenSample] = []
    with progress(len(keys), f"against {name_of_set(source)}") as advance:
        for read in images:
            try:
                found.append(print_of(read()))
            except BrokenSample as error:
                found.append(error)
            advance(1)
    if model is not None:
        found = [with_embedding(*each) for each in zip(found, model.images(images), strict=True)]
    skipped = [
        Skipped(key=key, reason=each.reason)
        for key, each in zip(keys, found, strict=True)
        if isinstance(each, BrokenSample)
    ]
    if skipped:
        say(f"{source}: {len(skipped)} of {len(keys)} images cannot be compared ({count_reasons(skipped)}).")
    good = [(key, each) for key, each in zip(keys, found, strict=True) if not isinstance(each, BrokenSample)]
    return Reference(name=name, keys=tuple(key for key, _ in good), prints=tuple(each for _, each in good))


def without_copies(parts: Parts, references: Sequence[Reference], settings: DedupSettings) -> Finish:
    """What leaves copies out of each part, with the reason and what each is a copy of."""
    copies, keys = find_copies(parts, references, settings)
    firsts = np.cumsum([0, *(len(each) for each in keys)])

    def finish(number: int, table: pa.Table) -> pa.Table:
        own = copies[firsts[number] : firsts[number + 1]]
        copy_of = with_reasons(table, (None if each is None else each[1] for each in own))["left_out"]
        broken = table["left_out"].is_valid().to_pylist()
        values = [None if is_broken else each for is_broken, each in zip(broken, copy_of.to_pylist(), strict=True)]
        table = with_reasons(table, (None if each is None else each[0] for each in own))
        table = table.drop_columns(["embedding"])
        return table.append_column("copy_of", pa.array(values, pa.string()))

    return finish


def find_copies(
    parts: Parts, references: Sequence[Reference], settings: DedupSettings
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

    def mark(reason: str, member: int, first: int) -> None:
        """A pair is a copy of what comes first: in an evaluation set, or with the smallest key."""
        where, original = names[first] if first < len(names) else ("", flat[first - len(names)].hex())
        if member >= len(names):
            copies[member - len(names)] = (f"{reason} {where}".rstrip(), original)

    kinds = [(BYTES, "sha256"), (PIXELS, "pixels"), *([(NEAR, "look")] if settings.is_near else [])]
    for reason, column in [*kinds, *([(CLOSE, "embedding")] if settings.model is not None else [])]:
        alive = [n for n in order if n < len(names) or copies[n - len(names)] is None]
        if not alive:
            continue
        values = [prints[column][n] for n in alive]
        if column == "embedding":
            embedding_ND = np.frombuffer(b"".join(values), np.float32).reshape(len(alive), -1)
            for member, first in copies_by_cosine(embedding_ND, settings.least_cosine, len(names)).items():
                mark(reason, alive[member], alive[first])
            continue
        if column == "look":
            colours = np.frombuffer(b"".join(prints["colours"][n] for n in alive), np.uint8)
            groups = alike_groups(np.array(values, np.uint64), colours.reshape(-1, GRID, GRID, 3))
        else:
            groups = equal_groups(np.array(values, "S32"))
        for group in groups:
            members = [alive[n] for n in sorted(group.tolist())]
            is_sent_for_others = column == "sha256" and sum(n >= len(names) for n in members) > settings.most_copies
            for member in members[0 if is_sent_for_others else 1 :]:
                mark(MANY if is_sent_for_others else reason, member, members[0])
    return copies, keys

"""Which images are there twice, byte for byte, pixel for pixel, or to the eye; and which are in an evaluation set.

To the eye is what `data.duplicates` says: the same image saved again, also at another size or quality, but no crops or
mirrored copies; with a model images are compared by its embeddings too, all with all. Of images that are the same the
pair with the smallest key stays, in whatever order they came. All are in memory at once by their hashes: some 300 bytes
each, and an embedding.

N = images, those of evaluation sets first; D = features of an embedding.
"""

import hashlib
from collections import Counter
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
from seesay.curation.stages import Decision, Parts, Stage
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
    """The images of an evaluation set that can be compared, and the number of the others."""

    name: str
    keys: tuple[str, ...]
    prints: tuple[Print, ...]
    unreadable: int = 0


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
    return Reference(
        name=name,
        keys=tuple(key for key, _ in good),
        prints=tuple(each for _, each in good),
        unreadable=len(skipped),
    )


class Copies(NamedTuple):
    """For each pair, part by part, why it is a copy and of what, or None; the keys of each part; and facts of all."""

    copies: list[tuple[str, str] | None]
    keys: list[list[bytes]]
    facts: dict[str, Any]


def without_copies(parts: Parts, references: Sequence[Reference], settings: DedupSettings) -> Decision:
    """What leaves copies out of each part, with the reason and what each is a copy of."""
    copies, keys, facts = find_copies(parts, references, settings)
    firsts = np.cumsum([0, *(len(each) for each in keys)])

    def finish(number: int, table: pa.Table) -> pa.Table:
        own = copies[firsts[number] : firsts[number + 1]]
        copy_of = with_reasons(table, (None if each is None else each[1] for each in own))["left_out"]
        broken = table["left_out"].is_valid().to_pylist()
        values = [None if is_broken else each for is_broken, each in zip(broken, copy_of.to_pylist(), strict=True)]
        table = with_reasons(table, (None if each is None else each[0] for each in own))
        table = table.drop_columns(["embedding"])
        return table.append_column("copy_of", pa.array(values, pa.string()))

    return Decision(finish, facts)


def find_copies(parts: Parts, references: Sequence[Reference], settings: DedupSettings) -> Copies:
    """Which pairs are copies, of a pair that stays or of an image of an evaluation set."""
    tables = list(parts.tables(["key", *COLUMNS]))
    keys = [table["key"].to_pylist() for table in tables]
    flat = [key for part in keys for key in part]
    tests = [(each.name, key) for each in references for key in each.keys]
    prints: dict[str, list[Any]] = {
        name: [each[n] for reference in references for each in reference.prints] for n, name in enumerate(COLUMNS)
    }
    for table in tables:
        for name in COLUMNS:
            prints[name] += table[name].to_pylist()
    # Groups are looked for in the order of keys, so that the order of the tables has no part in them.
    order = [*range(len(tests)), *(len(tests) + n for n in sorted(range(len(flat)), key=lambda n: (flat[n], n)))]
    found = _Found(tests=len(tests), pairs=len(flat))

    def sources_of(pairs: Sequence[int]) -> int:
        """How many URLs or files these pairs have their images from; read only where there are very many pairs."""
        firsts = np.cumsum([0, *map(len, keys)])
        sources = set()
        for number in sorted({int(np.searchsorted(firsts, n, "right")) - 1 for n in pairs}):
            rows = parts.table(number, ["url", "image_file", "image_offset"]).to_pylist()
            own = (rows[n - firsts[number]] for n in pairs if firsts[number] <= n < firsts[number + 1])
            sources.update(row["url"] or (row["image_file"], row["image_offset"]) for row in own)
        return len(sources)

    kinds = [(BYTES, "sha256"), (PIXELS, "pixels"), *([(NEAR, "look")] if settings.is_near else [])]
    for reason, column in [*kinds, *([(CLOSE, "embedding")] if settings.model is not None else [])]:
        alive = [n for n in order if found.is_compared(n)]
        values = [prints[column][n] for n in alive]
        if not alive:
            continue
        if column == "embedding":
            embedding_ND = np.frombuffer(b"".join(values), np.float32).reshape(len(alive), -1)
            for member, first in copies_by_cosine(embedding_ND, settings.least_cosine, len(tests)).items():
                found.add(reason, [alive[first], alive[member]])
            continue
        if column == "look":
            colours = np.frombuffer(b"".join(prints["colours"][n] for n in alive), np.uint8)
            groups = alike_groups(np.array(values, np.uint64), colours.reshape(-1, GRID, GRID, 3))
        else:
            groups = equal_groups(np.array(values, "S32"))
        for group in groups:
            members = [alive[n] for n in sorted(group.tolist())]
            own = [n - len(tests) for n in members if n >= len(tests)]
            if column == "sha256" and len(own) > settings.most_copies and sources_of(own) > settings.most_copies:
                found.add_all(MANY, members)
            else:
                found.add(reason, members)
    copies: list[tuple[str, str] | None] = []
    for reason, root in map(found.root, range(len(tests), len(tests) + len(flat))):
        if reason is None:
            copies.append(None)
        elif root < len(tests):
            copies.append((f"{reason} in {tests[root][0]}", tests[root][1]))
        else:
            copies.append((reason, flat[root - len(tests)].hex()))
    return Copies(copies, keys, {"against": _against(references, tests, found)} if references else {})


class _Found:
    """Which pairs are copies of what, by position, where those of test images come before those of pairs."""

    def __init__(self, *, tests: int, pairs: int):
        self._tests = tests
        self._first: list[tuple[str, int] | None] = [None] * (tests + pairs)
        # Test images that some pair shows.
        self.shown: set[int] = set()

    def is_compared(self, n: int) -> bool:
        """Whether it is compared further: a test image, a pair that is no copy, or that may show more test images."""
        return self._first[n] is None or self.root(n)[1] < self._tests

    def add(self, reason: str, members: Sequence[int]) -> None:
        """Images that are the same, the one that stays first."""
        if members[-1] >= self._tests:
            self.shown.update(n for n in members if n < self._tests)
        for member in members[1:]:
            if member >= self._tests and self._first[member] is None:
                self._first[member] = (reason, members[0])

    def add_all(self, reason: str, members: Sequence[int]) -> None:
        """Images that are the same, of which no pair stays."""
        self.add(reason, members)
        for member in members:
            if member >= self._tests:
                self._first[member] = (reason, members[0])

    def root(self, n: int) -> tuple[str | None, int]:
        """What an image is a copy of that is none itself, and the reason of that one; None and itself for no copy."""
        reason = None
        while (first := self._first[n]) is not None:
            reason, following = first
            if following == n:
                break
            n = following
        return reason, n


def _against(
    references: Sequence[Reference], tests: Sequence[tuple[str, str]], found: _Found
) -> list[dict[str, int | str]]:
    """Of each evaluation set how many images were compared, and how many of them some pair of the pool shows."""
    shown = Counter(tests[n][0] for n in found.shown)
    return [
        {"set": each.name, "images": len(each.keys), "unreadable": each.unreadable, "found": shown[each.name]}
        for each in references
    ]

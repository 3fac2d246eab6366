"""Every query that a caption contains, all at once by an Aho-Corasick automaton; see `spacing` for what contains means.

The automaton is that of Rust's aho-corasick (`ahocorasick_rs`). Its answer is the same as that of `spacing.contains`
for every query alone.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from seesay.base.extras import package
from seesay.curation.queries import Query
from seesay.curation.settings import MatchSettings
from seesay.curation.spacing import spaced
from seesay.curation.stages import Parts, Stage
from seesay.curation.tables import with_reasons

NO_QUERY = "no query in the caption"


def match_stage(queries: Sequence[Query], settings: MatchSettings) -> Stage:
    """Adds `queries`, the numbers of the queries in each caption in rising order.

    Captions without one go no further.
    """
    matched = matcher([query.text for query in queries], ignore_case=settings.ignore_case)

    def measure(table: pa.Table, _: Path) -> pa.Table:
        found = [matched(caption) for caption in table["caption"].to_pylist()]
        column = pa.array(found, pa.list_(pa.int32()))
        return with_reasons(
            table.append_column("queries", column), (None if numbers else NO_QUERY for numbers in found)
        )

    return Stage(name="match", settings=settings, measure=measure, facts=queries_hash(queries), is_dropping=True)


def match_counts(parts: Parts, count: int) -> list[int]:
    """In how many captions each of so many queries was found."""
    found_Q = np.zeros(count, np.int64)
    for table in parts.tables(["queries"]):
        found_Q += np.bincount(table["queries"].combine_chunks().flatten(), minlength=count)
    return found_Q.tolist()


def matcher(queries: Sequence[str], *, ignore_case: bool = False) -> Callable[[str], list[int]]:
    """A function that gives the numbers of all queries that a text contains, in rising order.

    Where capitals do not count, queries that differ in nothing else are found together.
    """
    AhoCorasick = package("ahocorasick_rs", extra="curate").AhoCorasick
    if not ignore_case:
        automaton = AhoCorasick([f" {query} " for query in queries])
        return lambda text: sorted({found[0] for found in automaton.find_matches_as_indexes(spaced(text), True)})
    numbers: dict[str, list[int]] = {}
    for number, query in enumerate(queries):
        numbers.setdefault(query.lower(), []).append(number)
    groups = list(numbers.values())
    automaton = AhoCorasick([f" {query} " for query in numbers])

    def matched(text: str) -> list[int]:
        found = {match[0] for match in automaton.find_matches_as_indexes(spaced(text.lower()), True)}
        return sorted(number for group in found for number in groups[group])

    return matched


def queries_hash(queries: Sequence[Query]) -> str:
    """SHA-256 of the queries in their order."""
    digest = hashlib.sha256()
    for query in queries:
        digest.update(query.text.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()

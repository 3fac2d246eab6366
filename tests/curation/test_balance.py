"""Balancing: no query has more than its share, and neither order nor parts of the tables decide anything."""

import random
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binom

from seesay.curation import balance
from seesay.curation.balance import NOT_KEPT, REPEAT, balanced
from seesay.curation.queries import Query
from seesay.curation.settings import BalanceSettings
from seesay.curation.tables import pair_key


def parts_of(pairs, sizes=None):
    """Parts in memory, of pairs (key, queries)."""
    sizes = sizes or [len(pairs)]
    tables, first = [], 0
    for size in sizes:
        block = pairs[first : first + size]
        first += size
        columns = {
            "key": pa.chunked_array([pa.array([key for key, _ in block], pa.binary(16))]),
            "queries": pa.chunked_array([pa.array([queries for _, queries in block], pa.list_(pa.int32()))]),
        }
        tables.append(pa.table(columns))
    return SimpleNamespace(tables=lambda columns: iter(tables))


def queries_named(count):
    return [Query(text=f"query {number}", kind="word", count=0) for number in range(count)]


@pytest.fixture(scope="module")
def pool():
    """4,000 pairs of 30 queries, of which the first are in many captions and the last in few."""
    chosen = random.Random(7)
    pairs = []
    for number in range(4000):
        own = {int(30 * chosen.random() ** 4) for _ in range(1 + chosen.randrange(4))}
        pairs.append((pair_key(f"http://a/{number}", "x"), sorted(own)))
    return pairs


def kept_pairs(pairs, settings, sizes=None):
    """Key -> the query it is kept for."""
    flat = np.concatenate(balanced(parts_of(pairs, sizes), queries_named(30), settings)).tolist()
    return {key: query for (key, _), query in zip(pairs, flat, strict=True) if query >= 0}


def cut_by_hand(pairs, per_query):
    """The definition: in the order of keys, for the rarest query with room."""
    counts = Counter(query for _, queries in pairs for query in queries)
    taken, kept = Counter(), {}
    for key, queries in sorted(pairs):
        for query in sorted(queries, key=lambda query: (counts[query], query)):
            if taken[query] < per_query:
                taken[query] += 1
                kept[key] = query
                break
    return kept


@pytest.mark.parametrize("per_query", [1, 50, 200, 5000])
def test_the_cut_keeps_pairs_in_the_order_of_keys_for_the_rarest_query_with_room(pool, per_query):
    kept = kept_pairs(pool, BalanceSettings(per_query=per_query))
    assert kept == cut_by_hand(pool, per_query)
    assert max(Counter(kept.values()).values()) <= per_query
    counts = Counter(query for _, queries in pool for query in queries)
    rare = {query for query, count in counts.items() if count <= per_query}
    assert all(key in kept for key, queries in pool if rare & set(queries)), "no pair of a rare query is lost"


@pytest.mark.parametrize("how", ["cut", "draw"])
def test_order_parts_and_ranges_of_keys_decide_nothing(pool, how, monkeypatch):
    settings = BalanceSettings(per_query=50, how=how)
    expected = kept_pairs(pool, settings)
    shuffled = random.Random(1).sample(pool, len(pool))
    assert kept_pairs(shuffled, settings, sizes=[500, 1, 3499]) == expected
    monkeypatch.setattr(balance, "MATCHES_AT_ONCE", 1000)
    monkeypatch.setattr(balance, "BLOCK", 7)
    assert kept_pairs(shuffled, settings, sizes=[4000]) == expected


def test_draws_keep_each_query_with_its_probability():
    """A pair with one query is kept with T / count; the number is within its binomial interval of 99.9 %."""
    pairs = [(pair_key(f"http://a/{number}", "x"), [number % 3]) for number in range(9000)]
    kept = Counter(kept_pairs(pairs, BalanceSettings(per_query=600, how="draw")).values())
    low, high = binom.interval(0.999, 3000, 600 / 3000)
    assert all(low <= kept[query] <= high for query in range(3)), kept


@pytest.mark.journey
def test_draws_of_several_queries_are_independent():
    """1 - prod(1 - p): of two queries with p = 1/4 each, 7/16 of the pairs stay."""
    pairs = [(pair_key(f"http://a/{number}", "x"), [0, 1]) for number in range(8000)]
    kept = kept_pairs(pairs, BalanceSettings(per_query=2000, how="draw"))
    low, high = binom.interval(0.999, 8000, 7 / 16)
    assert low <= len(kept) <= high


def test_a_rare_query_loses_nothing_in_draws(pool):
    kept = kept_pairs(pool, BalanceSettings(per_query=200, how="draw"))
    counts = Counter(query for _, queries in pool for query in queries)
    rare = {query for query, count in counts.items() if count <= 200}
    assert rare and all(key in kept for key, queries in pool if rare & set(queries))


def test_a_pair_that_comes_again_counts_once():
    key, other = pair_key("http://a/1", "x"), pair_key("http://a/2", "x")
    kept = balanced(parts_of([(key, [0]), (other, [0]), (key, [0])]), queries_named(1), BalanceSettings(per_query=2))
    assert kept[0].tolist() == [0, 0, REPEAT]
    kept = balanced(parts_of([(key, [0]), (other, [0]), (key, [0])]), queries_named(1), BalanceSettings(per_query=1))
    assert sorted(kept[0].tolist()) == [REPEAT, NOT_KEPT, 0]

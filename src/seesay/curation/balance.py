"""At most so many pairs for each query, in two ways, both decided by the key of a pair, a hash.

`cut`, the paper's: pairs in the order of their keys; each is kept for the rarest of its queries that has room, and
takes a place there. No query has more than T pairs kept for it.

`draw`, MetaCLIP's (`balancing.py`): a query e in count(e) captions has the probability p(e) = T / max(T, count(e)), and
a pair is kept if a draw succeeds for one of its queries. A draw is a hash of the pair and the query. `kept_for` is then
the rarest query whose draw succeeded.

Neither depends on the order of tables or on how they are divided. A pair that comes again (same image address, same
caption) is left out, and counted once. Pairs are worked on in ranges of keys, so that memory is bounded.

N = pairs, M = matches of theirs, Q = queries.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from seesay.curation.queries import Query
from seesay.curation.settings import BalanceSettings
from seesay.curation.stages import Decision, Parts, Stage

REPEATED, FULL = "pair that comes again", "none of its queries has room"
# Matches in memory at once: half a gigabyte with what is made of them. A guess.
MATCHES_AT_ONCE = 1 << 25
# Rows whose matches are Python's at once; a guess.
BLOCK = 1 << 16
# In `kept_for` while it is decided.
NOT_KEPT, REPEAT = -1, -2
# The three constants of SplitMix64 (Steele, Lea and Flood 2014).
GOLDEN, MIX_1, MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Pairs in the order of their keys: the first half of each key, and the queries of each, one row after another.

    `part_N` and `row_N` say where the pair stands.
    """

    key_N: np.ndarray
    part_N: np.ndarray
    row_N: np.ndarray
    count_N: np.ndarray
    query_M: np.ndarray


def balance_stage(queries: Sequence[Query], settings: BalanceSettings) -> Stage:
    """Adds `kept_for`, the number of the query that a pair is kept for; other pairs go no further."""

    def decide(parts: Parts) -> Decision:
        kept = balanced(parts, queries, settings)

        def finish(number: int, table: pa.Table) -> pa.Table:
            kept_for_N = kept[number]
            reasons = np.array([None, FULL, REPEATED], object)[-np.minimum(kept_for_N, 0)]
            column = pa.array(kept_for_N, pa.int32(), mask=kept_for_N < 0)
            index = table.schema.get_field_index("left_out")
            table = table.set_column(index, "left_out", pa.array(reasons, pa.string()))
            return table.append_column("kept_for", column)

        return Decision(finish)

    return Stage(name="balance", settings=settings, decide=decide, is_dropping=True)


def balanced(parts: Parts, queries: Sequence[Query], settings: BalanceSettings) -> list[np.ndarray]:
    """For the N rows of each part the query that they are kept for, `NOT_KEPT` or `REPEAT`: (N,) int32."""
    kept, matches = [], 0
    for table in parts.tables(["queries"]):
        kept.append(np.full(len(table), REPEAT, np.int32))
        matches += len(table["queries"].combine_chunks().flatten())
    ranges = max(1, -(-matches // MATCHES_AT_ONCE))
    count_Q = np.zeros(len(queries), np.int64)
    loaded = None
    for number in range(ranges):
        loaded = load_range(parts, number, ranges)
        count_Q += np.bincount(loaded.query_M, minlength=len(queries))
    rank_Q = np.empty(len(queries), np.int64)
    rank_Q[np.lexsort((np.arange(len(queries)), count_Q))] = np.arange(len(queries))
    room_Q = np.full(len(queries), settings.per_query, np.int64)
    hash_Q = np.array([_hash(query.text) for query in queries], np.uint64) if settings.how == "draw" else room_Q
    for number in range(ranges):
        pairs = loaded if ranges == 1 and loaded is not None else load_range(parts, number, ranges)
        pairs = rarest_first(pairs, rank_Q)
        if settings.how == "cut":
            kept_for_N = cut(pairs, room_Q)
        else:
            kept_for_N = draw(pairs, settings.per_query / np.maximum(settings.per_query, count_Q), hash_Q)
        for part in np.unique(pairs.part_N):
            own_N = pairs.part_N == part
            kept[part][pairs.row_N[own_N]] = kept_for_N[own_N]
    return kept


def load_range(parts: Parts, number: int, ranges: int) -> Matches:
    """The pairs whose keys lie in one of so many ranges, each pair once: as it stands first."""
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("high", "low", "part", "row", "count", "query")}
    for part, (high_N, low_N, count_N, query_M) in enumerate(_columns(parts)):
        # The range of the first 32 bits, in which 2^32 times the number of ranges has room.
        own_N = (high_N >> np.uint64(32)) * np.uint64(ranges) >> np.uint64(32) == np.uint64(number)
        columns["high"].append(high_N[own_N])
        columns["low"].append(low_N[own_N])
        columns["part"].append(np.full(own_N.sum(), part, np.int32))
        columns["row"].append(np.flatnonzero(own_N).astype(np.int32))
        columns["count"].append(count_N[own_N])
        columns["query"].append(query_M[np.repeat(own_N, count_N)])
    whole = {name: np.concatenate(values) for name, values in columns.items()}
    # Stable: of pairs with one key the first stays first.
    order_N = np.lexsort((whole["low"], whole["high"]))
    high_N, low_N = whole["high"][order_N], whole["low"][order_N]
    is_first_N = np.ones(len(order_N), bool)
    is_first_N[1:] = (high_N[1:] != high_N[:-1]) | (low_N[1:] != low_N[:-1])
    order_N = order_N[is_first_N]
    return Matches(
        key_N=whole["high"][order_N],
        part_N=whole["part"][order_N],
        row_N=whole["row"][order_N],
        count_N=whole["count"][order_N],
        query_M=whole["query"][_spans(whole["count"], order_N)],
    )


def rarest_first(pairs: Matches, rank_Q: np.ndarray) -> Matches:
    """The same pairs, the queries of each in the order of their ranks."""
    rank_M = np.sort(np.repeat(np.arange(len(pairs.count_N)), pairs.count_N) * len(rank_Q) + rank_Q[pairs.query_M])
    query_of_rank = np.argsort(rank_Q).astype(np.int32)
    return Matches(
        key_N=pairs.key_N,
        part_N=pairs.part_N,
        row_N=pairs.row_N,
        count_N=pairs.count_N,
        query_M=query_of_rank[rank_M % max(1, len(rank_Q))],
    )


def cut(pairs: Matches, room_Q: np.ndarray) -> np.ndarray:
    """The query that each pair is kept for, or `NOT_KEPT`, (N,) int32; `room_Q` is less by what was taken."""
    room = room_Q.tolist()
    kept_for_N = np.full(len(pairs.count_N), NOT_KEPT, np.int32)
    end_N = np.cumsum(pairs.count_N)
    for first in range(0, len(end_N), BLOCK):
        start = int(end_N[first - 1]) if first else 0
        ends = end_N[first : first + BLOCK].tolist()
        flat = pairs.query_M[start : ends[-1]].tolist()
        begin = 0
        for row, end in enumerate(ends, first):
            for query in flat[begin : end - start]:
                if room[query]:
                    room[query] -= 1
                    kept_for_N[row] = query
                    break
            begin = end - start
    room_Q[:] = room
    return kept_for_N


def draw(pairs: Matches, share_Q: np.ndarray, hash_Q: np.ndarray) -> np.ndarray:
    """The first query of each pair whose draw succeeds with its share, or `NOT_KEPT`, (N,) int32."""
    row_M = np.repeat(np.arange(len(pairs.count_N)), pairs.count_N)
    mixed_M = splitmix64(pairs.key_N[row_M] ^ hash_Q[pairs.query_M])
    # 53 bits, as many as a float64 has.
    is_drawn_M = (mixed_M >> np.uint64(11)).astype(np.float64) * 2.0**-53 < share_Q[pairs.query_M]
    kept_for_N = np.full(len(pairs.count_N), NOT_KEPT, np.int32)
    rows, first = np.unique(row_M[is_drawn_M], return_index=True)
    kept_for_N[rows] = pairs.query_M[is_drawn_M][first]
    return kept_for_N


def splitmix64(x: np.ndarray) -> np.ndarray:
    """Each uint64 of any shape, such as (M,), turned into one that looks random; different ones stay different."""
    x = x + np.uint64(GOLDEN)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(MIX_1)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(MIX_2)
    return x ^ (x >> np.uint64(31))


def key_halves(keys: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Keys of 16 bytes as two uint64 (N,), in whose order the keys are."""
    whole = keys.combine_chunks()
    data = np.frombuffer(b"".join(whole.to_pylist()), ">u8").reshape(-1, 2).astype(np.uint64)
    return data[:, 0], data[:, 1]


def _columns(parts: Parts) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Both halves of the keys of each part, the number of queries of each row, and the queries."""
    for table in parts.tables(["key", "queries"]):
        lists = table["queries"].combine_chunks()
        count_N = lists.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
        yield *key_halves(table["key"]), count_N, lists.flatten().to_numpy(zero_copy_only=False)


def _spans(count_N: np.ndarray, order_N: np.ndarray) -> np.ndarray:
    """Positions of the matches of the rows `order_N`, where row n has `count_N[n]` of them."""
    start_N = np.cumsum(count_N) - count_N
    own_N = count_N[order_N]
    return np.repeat(start_N[order_N] - (np.cumsum(own_N) - own_N), own_N) + np.arange(own_N.sum())


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")

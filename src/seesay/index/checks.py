"""Sums by which a flipped bit, a lost sector or a file of another day is seen; LanceDB's files have none.

Files and rows of a table have a CRC-32. Vectors that a query ranks are summed thousands at once: their 32-bit words,
each times a weight of its own, which takes a ninth of that time (benchmarks/2026-11-29-damage).

N = rows, D = width of vectors, W = words of a row.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa

from seesay.base.errors import RefusedInput

# Bytes of a file that are read at once, a guess: they stay in the cache of a core.
BYTES_AT_ONCE = 1 << 20
# Odd numbers, so that no flipped bit is multiplied away; as many as the longest vectors have, and the same always.
_WEIGHTS = np.random.default_rng(0).integers(0, 1 << 31, 1 << 14, dtype=np.uint32) * 2 + 1
# What a row's check is of, beside its vector; a number that is missing counts as the least of all.
NUMBERS = ("id", "size", "modified_ns", "taken_s", "look")
TEXTS = ("path", "hash", "colours", "reason", "detail")
MISSING = np.iinfo(np.int64).min


def damaged(path: Path, reason: object, folder: Path) -> RefusedInput:
    """The error for a file of an index that is not what was written; `folder` is what is made again without it."""
    return RefusedInput(f"{path} is damaged ({reason}); remove {folder}, and the next `seesay search` makes it again.")


def sealed(values: dict[str, Any]) -> bytes:
    """JSON of values with the check of them in it."""
    return json.dumps(values | {"check": _check_of(values)}, indent=1).encode("ascii")


def unsealed(data: bytes) -> dict[str, Any]:
    """What was `sealed`; `ValueError` for what is not, or has changed since."""
    values = json.loads(data.decode("ascii"))
    if not isinstance(values, dict) or values.pop("check", None) != _check_of(values):
        raise ValueError("what it says has changed since it was written")
    return values


def _check_of(values: dict[str, Any]) -> int:
    return crc32(json.dumps(values, sort_keys=True).encode("ascii"))


def file_sum(path: Path) -> list[int]:
    """The size of a file in bytes, and the CRC-32 of what is in it; raises `OSError`."""
    size, check = 0, 0
    with path.open("rb", buffering=0) as file:
        while data := file.read(BYTES_AT_ONCE):
            size += len(data)
            check = crc32(data, check)
    return [size, check]


def vector_sums(vectors_ND: np.ndarray) -> np.ndarray:
    """(N,) uint32 of float32 rows (N, D): their words, each times the weight of its position, added up."""
    words_NW = vectors_ND.view(np.uint32)
    return np.einsum("nw,w->n", words_NW, np.resize(_WEIGHTS, words_NW.shape[1]))


def field_checks(rows: pa.Table) -> np.ndarray:
    """(N,) uint32: the CRC-32 of each row, but for its vector and its thumbnail."""
    numbers = [rows[name].cast(pa.int64(), safe=False).fill_null(MISSING).to_numpy() for name in NUMBERS]
    texts = [rows[name].cast(pa.binary()).fill_null(b"").to_pylist() for name in TEXTS]
    first = (row.tobytes() for row in np.stack(numbers, axis=1))
    return _as_checks(crc32(b"\0".join(parts)) for parts in zip(first, *texts, strict=True))


def checks_with_vectors(check_N: np.ndarray, vectors_ND: np.ndarray) -> np.ndarray:
    """(N,) uint32: the checks of rows with their vectors in them."""
    vectors_ND = np.ascontiguousarray(vectors_ND, "<f4")
    return _as_checks(crc32(vector_D.data, check) for vector_D, check in zip(vectors_ND, check_N.tolist(), strict=True))


def thumbnail_checks(rows: pa.Table) -> np.ndarray:
    """(N,) uint32: the CRC-32 of each thumbnail, begun with its `id`, as it is read without the rest of its row."""
    pairs = zip(rows["id"].to_pylist(), rows["thumbnail"].to_pylist(), strict=True)
    return _as_checks(crc32(thumbnail or b"", number) for number, thumbnail in pairs)


def _as_checks(checks: Iterable[int]) -> np.ndarray:
    return np.fromiter(checks, np.uint32)

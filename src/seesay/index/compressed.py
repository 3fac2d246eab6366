"""Vectors in a few bytes each, to find what may be nearest; the true vectors then rank those few.

A row is turned so that its first numbers hold most of what tells photos apart (principal components), and these are
stored as int8. Their products take a fraction of the time of float32 rows
(benchmarks/2026-11-29-search). How many numbers are enough is measured when the rows are written.

N = photos, D = width of vectors, W = numbers stored of each, Q = queries tried, C = candidates.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

# Below so many bytes of float32 all of them are read in some ten milliseconds: a guess.
LEAST_BYTES = 1 << 27
# Numbers stored of each row and candidates of a query for ten photos: tried in this order, which is that of their time
# for a million rows, and then all of D. What is enough depends on the photos.
CHOICES = ((64, 1000), (64, 2000), (96, 1000), (96, 2000), (128, 2000), (128, 4000), (256, 4000))
# Rows from which directions are learned and queries taken, rows worked on at once, and the seed: guesses.
SAMPLE, QUERIES, ROWS_AT_ONCE, SEED = 50_000, 64, 1 << 15, 0
# The share of the ten best that must be among the candidates: a guess.
SHOWN, LEAST_RECALL = 10, 0.995
# How much of a photo is in a query that is as far off as words are, a guess; and every how manieth score is looked at
# for a limit that leaves somewhat more than are wanted.
FAR, STRIDE, SPARE = 0.6, 61, 1.5
# What a product of bytes may hold on processors that add two of them in 16 bits: 2 x 255 x 63 < 32,768.
CODE_LIMIT, QUERY_LIMIT = 127, 63


@dataclass(frozen=True)
class CompressedRows:
    """Rows as int8 (N, W), the directions (D, W) they are measured in, and what a step of each is, (W,).

    `count` is how many candidates of a query hold the ten best.
    """

    codes_NW: np.ndarray
    directions_DW: np.ndarray
    scale_W: np.ndarray
    count: int

    @classmethod
    def read(cls, folder: Path) -> "CompressedRows":
        """The rows that `write` left; raises `OSError` or `ValueError` where they are not whole."""
        # Read and not mapped: the memory that numpy asks for has large pages, which spare a sixth of a query's scan.
        names = ("codes", "directions", "scale", "count")
        codes_NW, directions_DW, scale_W, count = (np.load(folder / f"{name}.npy") for name in names)
        return cls(codes_NW, directions_DW, scale_W, int(count))

    def candidates(self, query_D: np.ndarray, *, top: int, is_allowed_N: np.ndarray | None = None) -> np.ndarray:
        """Positions (C,) among which the `top` nearest to a vector (D,) are to be looked for, in no order."""
        score_N = self._scores(query_D)
        count = max(self.count, top * self.count // SHOWN)
        if is_allowed_N is not None:
            allowed = np.flatnonzero(is_allowed_N)
            return allowed[_largest(score_N[allowed], count)]
        return _largest(score_N, count)

    def _scores(self, query_D: np.ndarray) -> np.ndarray:
        weight_W = (query_D @ self.directions_DW) * self.scale_W
        step = max(float(np.abs(weight_W).max()), 1e-30) / QUERY_LIMIT
        weight = torch.from_numpy(np.round(weight_W / step).astype(np.int8))
        product_N1 = torch._int_mm(torch.from_numpy(self.codes_NW), weight[:, None])  # pyright: ignore[reportPrivateImportUsage]
        return product_N1.numpy()[:, 0]


def is_worth_it(count: int, width: int) -> bool:
    """Whether so many rows are better searched compressed."""
    return count * width * 4 > LEAST_BYTES


def write(folder: Path, vectors_ND: np.ndarray) -> None:
    """Write rows for vectors (N, D), as few numbers of each as find what float32 finds."""
    random = np.random.default_rng(SEED)
    sample_SD = vectors_ND[np.sort(random.choice(len(vectors_ND), min(SAMPLE, len(vectors_ND)), replace=False))]
    mean_D = sample_SD.mean(0)
    directions_DD = np.linalg.eigh(np.cov((sample_SD - mean_D).T))[1][:, ::-1].astype(np.float32)
    query_QD = sample_SD[random.choice(len(sample_SD), min(QUERIES, len(sample_SD)), replace=False)]
    # Words lie further off than photos: every second query is mostly a direction of its own.
    away_QD = random.standard_normal(query_QD[::2].shape, dtype=np.float32)
    query_QD[::2] = FAR * query_QD[::2] + away_QD / np.linalg.norm(away_QD, axis=1, keepdims=True)
    best_QT = _exactly(vectors_ND, query_QD)
    width = vectors_ND.shape[1]
    stored = 0
    for wanted, count in (*((size, count) for size, count in CHOICES if size < width), (width, CHOICES[-1][1])):
        np.save(folder / "count.npy", count)
        if wanted != stored:
            _compress(folder, vectors_ND, mean_D, np.ascontiguousarray(directions_DD[:, :wanted]), sample_SD)
        stored = wanted
        if wanted == width or _recall(CompressedRows.read(folder), query_QD, best_QT) >= LEAST_RECALL:
            return


def _compress(
    folder: Path, vectors_ND: np.ndarray, mean_D: np.ndarray, directions_DW: np.ndarray, sample_SD: np.ndarray
) -> None:
    reach_W = np.abs((sample_SD - mean_D) @ directions_DW).max(0)
    scale_W = (np.maximum(reach_W, 1e-12) / CODE_LIMIT).astype(np.float32)
    np.save(folder / "directions.npy", directions_DW)
    np.save(folder / "scale.npy", scale_W)
    with (folder / "codes.npy").open("wb") as file:
        header = {"descr": "|i1", "fortran_order": False, "shape": (len(vectors_ND), len(scale_W))}
        np.lib.format.write_array_header_1_0(file, header)
        for block_BD in _blocks(vectors_ND):
            steps_BW = np.round((block_BD - mean_D) @ directions_DW / scale_W)
            file.write(np.clip(steps_BW, -CODE_LIMIT, CODE_LIMIT).astype(np.int8).data)


def _exactly(vectors_ND: np.ndarray, query_QD: np.ndarray) -> np.ndarray:
    """Positions (Q, T) of the nearest to each query."""
    score_QN = np.concatenate([query_QD @ block_BD.T for block_BD in _blocks(vectors_ND)], axis=1)
    shown = min(SHOWN, len(vectors_ND))
    return np.argpartition(score_QN, -shown, axis=1)[:, -shown:]


def _recall(rows: CompressedRows, query_QD: np.ndarray, best_QT: np.ndarray) -> float:
    tried = [_largest(rows._scores(query_D), rows.count) for query_D in query_QD]
    return float(np.mean([np.isin(best_T, few) for best_T, few in zip(best_QT, tried, strict=True)]))


def _largest(score_N: np.ndarray, count: int) -> np.ndarray:
    if len(score_N) <= count:
        return np.arange(len(score_N))
    few = score_N[::STRIDE]
    wanted = int(count / STRIDE * SPARE) + 1
    if wanted < len(few):
        # A tenth of the time of a partition of all, where the scores looked at are like the others.
        found = np.flatnonzero(score_N >= np.partition(few, len(few) - wanted)[len(few) - wanted])
        if count <= len(found) <= 4 * count:
            return found
    return np.argpartition(score_N, len(score_N) - count)[len(score_N) - count :]


def _blocks(vectors_ND: np.ndarray) -> Iterator[np.ndarray]:
    return (vectors_ND[first : first + ROWS_AT_ONCE] for first in range(0, len(vectors_ND), ROWS_AT_ONCE))

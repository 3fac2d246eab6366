"""Queries per second over 1,000,000 x 512 vectors: flat float32 by NumPy and faiss, where it is installed, and seesay.

Usage: OMP_NUM_THREADS=1 python query.py FOLDER [COUNT [real|falling|isotropic ...]]. FOLDER gets 2.1 GB.

One thread each, one query per call, the ways in turn within each round; the clock and CPU seconds, medians of rounds.
Recall is of 2 x 200 queries against flat float32, half of them vectors like those of the index ("near") and half
further off, as words are from images ("far").

real: `images.npy` and `captions.npy` in FOLDER, made by `real_vectors.py`, are mixed up to COUNT: a row is that of one
image plus half of what tells another one from the mean. Near queries are other such mixtures, far ones are captions.
falling, isotropic: 1,000 clusters around a common mean, the spectrum falling as rank ** -0.7, or flat.
"""

import importlib.util
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from seesay.index import compressed
from seesay.index.checks import vector_sums
from seesay.index.scan import Scan

WIDTH, TOP, QUERIES, TIMED, ROUNDS = 512, 10, 400, 24, 7
SPREADS = {"falling": 0.7, "isotropic": 0.0}


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def synthetic(spread):
    """What draws rows, and what draws far queries."""
    random = np.random.default_rng(0)
    spectrum = (np.arange(1, WIDTH + 1) ** -spread).astype(np.float32)
    spectrum *= np.sqrt(WIDTH / (spectrum**2).sum())
    centres = random.standard_normal((1000, WIDTH), dtype=np.float32) * spectrum
    mean = random.standard_normal(WIDTH, dtype=np.float32)

    def draw(number):
        noise = random.standard_normal((number, WIDTH), dtype=np.float32) * spectrum
        return unit(0.8 * mean + 0.8 * centres[random.integers(0, 1000, number)] + 0.7 * noise)

    return draw, lambda number: unit(unit(random.standard_normal((number, WIDTH))) + 0.6 * draw(number))


def real(folder):
    """As `synthetic`, of what a model made of images and captions."""
    random = np.random.default_rng(0)
    images, captions = np.load(folder / "images.npy"), np.load(folder / "captions.npy")
    mean = images.mean(0)

    def draw(number):
        one, other = (images[random.integers(0, len(images), number)] for _ in range(2))
        return unit(one + 0.5 * (other - mean))

    return draw, lambda number: captions[random.choice(len(captions), number, replace=False)]


def make(path, count, draws):
    draw, far = draws
    vectors = np.lib.format.open_memmap(path, "w+", np.float32, (count, WIDTH))
    for first in range(0, count, 50_000):
        vectors[first : first + 50_000] = draw(min(50_000, count - first))
    queries = np.concatenate([draw(QUERIES // 2), far(QUERIES // 2)])
    return np.ascontiguousarray(vectors), queries


def best_of(vectors, queries):
    """Positions of the ten best of each query, by blocks."""
    blocks = range(0, len(vectors), 50_000)
    scores = np.concatenate([queries @ vectors[first : first + 50_000].T for first in blocks], axis=1)
    return [set(np.argpartition(row, len(row) - TOP)[-TOP:].tolist()) for row in scores]


def recalls(vectors, queries, work):
    found = []
    for first in range(0, len(queries), 50):
        some = queries[first : first + 50]
        both = zip(best_of(vectors, some), map(work, some), strict=True)
        found += [len(best & set(ours.tolist())) / TOP for best, ours in both]
    half = len(found) // 2
    return float(np.mean(found[:half])), float(np.mean(found[half:]))


def seconds_of(work, queries):
    clock, cpu = time.perf_counter(), time.process_time()
    for query in queries:
        work(query)
    return (time.perf_counter() - clock) / len(queries), (time.process_time() - cpu) / len(queries)


def ways_of(scan):
    vectors = scan.vectors_ND

    def flat(query):
        scores = vectors @ query
        best = np.argpartition(scores, len(scores) - TOP)[-TOP:]
        return best[np.argsort(-scores[best])]

    ways = {"numpy flat": flat, "seesay": lambda query: scan.best(query, top=TOP)[0]}
    if importlib.util.find_spec("faiss"):
        import faiss

        faiss.omp_set_num_threads(1)
        index = faiss.IndexFlatIP(WIDTH)
        index.add(vectors)
        ways["faiss flat"] = lambda query: index.search(query[None], TOP)[1][0]
    return ways


def measured(folder, count, kind):
    vectors, queries = make(folder / "vectors.npy", count, real(folder) if kind == "real" else synthetic(SPREADS[kind]))
    begun = time.process_time()
    compressed.write(folder, vectors)
    build = time.process_time() - begun
    rows = compressed.CompressedRows.read(folder)
    # As an index has it, that checks the rows it ranks.
    scan = Scan(version=1, rows=None, vectors_ND=vectors, compressed=rows, sums_N=vector_sums(vectors))
    ways = ways_of(scan)
    near, far = recalls(vectors, queries, ways["seesay"])
    # As many of each half.
    timed = queries[:: len(queries) // TIMED]
    times = {way: [] for way in ways}
    for work in ways.values():
        seconds_of(work, timed)
    for _ in range(ROUNDS):
        for way, work in ways.items():
            times[way].append(seconds_of(work, timed))
    row = {
        "vectors": f"{kind}, {count:,} x {WIDTH}",
        "numbers stored of each": int(rows.codes_NW.shape[1]),
        "candidates": rows.count,
        "recall@10 near": round(near, 4),
        "recall@10 far": round(far, 4),
        "CPU s to compress": round(build, 1),
    }
    for at, unit_ in enumerate(("ms by the clock", "CPU ms")):
        values = {way: [1000 * each[at] for each in those] for way, those in times.items()}
        median = {way: statistics.median(each) for way, each in values.items()}
        row[unit_] = {way: round(value, 2) for way, value in median.items()}
        row[f"{unit_}, range"] = {way: [round(min(each), 2), round(max(each), 2)] for way, each in values.items()}
        row[f"times numpy, {unit_}"] = round(median["numpy flat"] / median["seesay"], 1)
    return row


def main(folder, count, kinds):
    results = []
    for kind in kinds:
        results.append(measured(folder, count, kind))
        print(json.dumps(results[-1]), flush=True)
    (Path(__file__).parent / "query.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    main(target, size, sys.argv[3:] or ["real", "falling", "isotropic"])

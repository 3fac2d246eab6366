"""Queries per second over 1,000,000 x 512 vectors: flat float32 by NumPy, faiss flat where it is installed, and seesay.

Usage: OMP_NUM_THREADS=1 python query.py FOLDER [COUNT [falling|isotropic]]. FOLDER gets 2.1 GB.
One thread each, one query per call, the ways in turn within each round; seconds are CPU seconds, since the machine has
other work, and the median of rounds.
Vectors: 1,000 clusters around a common mean, the spectrum falling as rank ** -0.7 ("falling") or flat ("isotropic").
Queries: half of them vectors like those of the index, half further off, as words are from images.
"""

import importlib.util
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from seesay.index import compressed
from seesay.index.scan import Scan

WIDTH, TOP, QUERIES, ROUNDS = 512, 10, 24, 3


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def make(path, count, spread):
    random = np.random.default_rng(0)
    spectrum = (np.arange(1, WIDTH + 1) ** -spread).astype(np.float32)
    spectrum *= np.sqrt(WIDTH / (spectrum**2).sum())
    centres = random.standard_normal((1000, WIDTH), dtype=np.float32) * spectrum
    mean = random.standard_normal(WIDTH, dtype=np.float32)

    def draw(number):
        noise = random.standard_normal((number, WIDTH), dtype=np.float32) * spectrum
        return unit(0.8 * mean + 0.8 * centres[random.integers(0, 1000, number)] + 0.7 * noise)

    vectors = np.lib.format.open_memmap(path, "w+", np.float32, (count, WIDTH))
    for first in range(0, count, 50_000):
        vectors[first : first + 50_000] = draw(min(50_000, count - first))
    near = draw(QUERIES // 2)
    far = unit(unit(random.standard_normal((QUERIES // 2, WIDTH))) + 0.6 * draw(QUERIES // 2))
    return np.ascontiguousarray(vectors), np.concatenate([near, far])


def seconds_of(work, queries):
    begun = time.process_time()
    found = [work(query) for query in queries]
    return (time.process_time() - begun) / len(queries), found


def main(folder, count, kinds=("falling", "isotropic")):
    results = []
    for name, spread in ((kind, {"falling": 0.7, "isotropic": 0.0}[kind]) for kind in kinds):
        vectors, queries = make(folder / "vectors.npy", count, spread)
        begun = time.process_time()
        compressed.write(folder, vectors)
        build = time.process_time() - begun
        rows = compressed.CompressedRows.read(folder)
        scan = Scan(version=1, rows=None, vectors_ND=vectors, compressed=rows)

        def flat(query, vectors=vectors):
            scores = vectors @ query
            best = np.argpartition(scores, len(scores) - TOP)[-TOP:]
            return best[np.argsort(-scores[best])]

        ways = {"numpy flat": flat, "seesay": lambda query, scan=scan: scan.best(query, top=TOP)[0]}
        if importlib.util.find_spec("faiss"):
            import faiss

            faiss.omp_set_num_threads(1)
            index = faiss.IndexFlatIP(WIDTH)
            index.add(vectors)
            ways["faiss flat"] = lambda query, index=index: index.search(query[None], TOP)[1][0]
        for work in ways.values():
            work(queries[0])
        times, found = {way: [] for way in ways}, {}
        for _ in range(ROUNDS):
            for way, work in ways.items():
                seconds, found[way] = seconds_of(work, queries)
                times[way].append(seconds)
        both = zip(found["numpy flat"], found["seesay"], strict=True)
        recalls = [len(set(exact.tolist()) & set(ours.tolist())) / TOP for exact, ours in both]
        half = QUERIES // 2
        row = {
            "vectors": f"{name}, {count:,} x {WIDTH}",
            "numbers stored of each": int(rows.codes_NW.shape[1]),
            "recall@10 near": float(np.mean(recalls[:half])),
            "recall@10 far": float(np.mean(recalls[half:])),
            "CPU ms a query": {way: round(1000 * statistics.median(values), 2) for way, values in times.items()},
            "range of ms": {way: [round(1000 * min(v), 2), round(1000 * max(v), 2)] for way, v in times.items()},
            "times numpy": round(statistics.median(times["numpy flat"]) / statistics.median(times["seesay"]), 1),
            "CPU s to compress": round(build, 1),
        }
        print(json.dumps(row), flush=True)
        results.append(row)
        ways.clear()
    (Path(__file__).parent / "query.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    main(target, int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000, *([sys.argv[3:]] if sys.argv[3:] else []))

"""Random rows whose spectrum is flat, the worst case: what is stored of each, recall, and CPU time beside NumPy.

Usage: OMP_NUM_THREADS=1 python isotropic.py FOLDER. FOLDER holds the `vectors.npy` that `query.py FOLDER 1000000
isotropic` leaves, so that nothing is drawn again; compressed rows are written to FOLDER/isotropic. It prints each
choice that was tried with its recall, the recall of 40 near and 40 far queries of other seeds, and 7 rounds of both
ways in turn. The numbers of isotropic.log were printed by the same code before it was put into this form.
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from query import TOP, WIDTH, unit

from seesay.index import compressed
from seesay.index.checks import vector_sums
from seesay.index.scan import Scan

QUERIES, ROUNDS, BLOCK = 40, 7, 25_000


def queries_of():
    """Near and far queries around the centres of `query.synthetic`, which are the first that its generator draws."""
    first, random = np.random.default_rng(0), np.random.default_rng(7)
    centres = first.standard_normal((1000, WIDTH), dtype=np.float32)
    mean = first.standard_normal(WIDTH, dtype=np.float32)

    def draw(number):
        noise = random.standard_normal((number, WIDTH), dtype=np.float32)
        return unit(0.8 * mean + 0.8 * centres[random.integers(0, 1000, number)] + 0.7 * noise)

    near = draw(QUERIES)
    return np.concatenate([near, unit(unit(random.standard_normal((QUERIES, WIDTH))) + 0.6 * draw(QUERIES))])


def main(folder):
    torch.set_num_threads(1)
    vectors = np.asarray(np.load(folder / "vectors.npy", mmap_mode="r"))
    count, clock = len(vectors), time.process_time
    (folder / "isotropic").mkdir(exist_ok=True)
    recall = compressed._recall

    def shown(rows, queries, best):
        value = recall(rows, queries, best)
        print(f"{rows.codes_NW.shape[1]} numbers, {rows.count} candidates: recall {value:.4f}", flush=True)
        return value

    compressed._recall = shown
    begun = clock()
    compressed.write(folder / "isotropic", vectors)
    print(f"written in {clock() - begun:.1f} CPU s", flush=True)
    rows = compressed.CompressedRows.read(folder / "isotropic")
    scan = Scan(1, None, vectors, rows, vector_sums(vectors))
    queries = queries_of()
    scores = np.concatenate([queries @ vectors[at : at + BLOCK].T for at in range(0, count, BLOCK)], axis=1)
    best = np.argpartition(scores, count - TOP, axis=1)[:, -TOP:]
    found = [np.isin(ten, scan.best(query, top=TOP)[0]).mean() for query, ten in zip(queries, best, strict=True)]
    print(f"recall@10 near {np.mean(found[:QUERIES]):.3f}, far {np.mean(found[QUERIES:]):.3f}", flush=True)

    def flat(query):
        scores = vectors @ query
        ten = np.argpartition(scores, count - TOP)[-TOP:]
        return ten[np.argsort(-scores[ten])]

    times = {"numpy flat": [], "seesay": []}
    for number in range(ROUNDS):
        for way, work, some in (
            ("numpy flat", flat, queries[number::20][:2]),
            ("seesay", lambda query: scan.best(query, top=TOP), queries[::8]),
        ):
            begun = clock()
            for query in some:
                work(query)
            times[way].append(1000 * (clock() - begun) / len(some))
    middle = {way: statistics.median(each) for way, each in times.items()}
    print({way: [round(each, 2) for each in those] for way, those in times.items()})
    print(f"CPU ms: {middle}; {middle['numpy flat'] / middle['seesay']:.1f} times")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Time and memory of balancing alone, over parts as `match` leaves them.

    python benchmarks/2026-11-29-curate/balance.py 10000000 FOLDER

Keys and matches are made up: 8 matches a pair on average, of 500,000 queries whose frequencies follow 1 / rank.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from seesay.curation.balance import balanced
from seesay.curation.queries import Query
from seesay.curation.settings import BalanceSettings
from seesay.curation.stages import Parts

ROWS, QUERIES, MATCHES = 100_000, 500_000, 8


def write_part(path, rows, generator):
    # 1 / rank: uniform in the logarithm of the rank.
    count_N = generator.poisson(MATCHES - 1, rows) + 1
    query_M = (QUERIES ** generator.random(count_N.sum())).astype(np.int32) - 1
    ends = np.concatenate([[0], np.cumsum(count_N)]).astype(np.int32)
    keys = pa.Array.from_buffers(pa.binary(16), rows, [None, pa.py_buffer(generator.bytes(16 * rows))])
    columns = {
        "key": keys,
        "queries": pa.ListArray.from_arrays(pa.array(ends), pa.array(query_M)),
        "left_out": pa.nulls(rows, pa.string()),
    }
    parquet.write_table(pa.table(columns), path, compression="zstd")


def main():
    count, folder = int(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    paths = [folder / f"{number:05d}.parquet" for number in range(-(-count // ROWS))]
    for path in paths:
        if not path.exists():
            write_part(path, ROWS, generator)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    queries = [Query(text=str(number), kind="word", count=0) for number in range(QUERIES)]
    result = {"pairs": ROWS * len(paths), "load": os.getloadavg(), "resident_before_gb": round(before / 1e6, 2)}
    for how in ("cut", "draw"):
        started = time.process_time()
        kept = balanced(Parts(paths, ""), queries, BalanceSettings(how=how))
        result[how] = {
            "cpu_s": round(time.process_time() - started, 1),
            "kept": int(sum((each >= 0).sum() for each in kept)),
            "largest_resident_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        }
        if how == "cut":
            counts = np.bincount(np.concatenate([each[each >= 0] for each in kept]))
            result[how]["most_kept_for_a_query"] = int(counts.max())
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

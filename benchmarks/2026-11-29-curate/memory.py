"""Time and memory of matching and balancing many captions.

    python benchmarks/2026-11-29-curate/memory.py queries.tsv captions.txt 10000000 FOLDER

Writes a table of so many rows, each with a URL of its own: the captions, and then again and again with their words in
another order (seed 0), and runs `seesay curate` on it. Memory is the largest resident set that the system has seen of
that process, its table of parts on disk not counted.
"""

import itertools
import json
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

ROWS = 100_000


def lines_of(path):
    """The captions, and then without end with their words in another order."""
    with open(path, encoding="utf-8") as file:
        captions = [line.rstrip("\n") for line in file]
    yield from captions
    chosen = random.Random(0)
    while True:
        for caption in captions:
            words = caption.split(" ")
            chosen.shuffle(words)
            yield " ".join(words)


def main():
    queries, captions, count, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    folder.mkdir(parents=True, exist_ok=True)
    lines = lines_of(captions)
    schema = pa.schema([("url", pa.string()), ("caption", pa.string())])
    with parquet.ParquetWriter(folder / "pool.parquet", schema, compression="zstd") as writer:
        for first in range(0, count, ROWS):
            numbers = range(first, min(first + ROWS, count))
            urls = [f"http://example.org/{number}.jpg" for number in numbers]
            columns = [pa.array(urls), pa.array(list(itertools.islice(lines, len(numbers))))]
            writer.write_table(pa.table(columns, schema=schema))
    words = ["--queries", queries, "--out", str(folder / "set"), "--stages", "match,balance", "--set", "rows=100000"]
    started = time.monotonic()
    command = [sys.executable, "-m", "seesay", "curate", str(folder / "pool.parquet"), *words]
    subprocess.run(command, check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    counts = json.loads((folder / "set" / "counts.json").read_text())
    result = {
        "captions": count,
        "clock_s": round(time.monotonic() - started, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "largest_resident_gb": round(used.ru_maxrss / 1e6, 2),
        "load": os.getloadavg(),
        "stages": counts["stages"],
        "queries": counts["queries"],
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

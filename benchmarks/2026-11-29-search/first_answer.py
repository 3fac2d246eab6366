"""Seconds from command to first answer over a folder of many unchanged files, and of loading the model.

Usage: OMP_NUM_THREADS=1 python first_answer.py PHOTOS FOLDER. FOLDER gets an index of every file below PHOTOS, its
vectors drawn at random (what is measured is not how good they are); then `seesay search PHOTOS WORDS` runs ROUNDS
times, in turn with a process that only loads the model. The clock and the CPU seconds of each;
the machine has other work.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

import seesay
from seesay.index.difference import survey
from seesay.index.photo_index import PhotoIndex
from seesay.index.photo_table import PhotoTable, schema

ROUNDS = 3
LOAD = "import seesay; seesay.load('box').encode_texts(['two dogs in snow'])"


def fill(index, root):
    files = survey(root).photos
    width = index.facts.width
    table = PhotoTable(index.folder, width)
    random = np.random.default_rng(0)
    items = list(files.items())
    for first in range(0, len(items), 20_000):
        some = items[first : first + 20_000]
        count = len(some)
        vectors = random.standard_normal((count, width), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        columns = {
            "id": pa.array(range(first + 1, first + 1 + count), pa.int64()),
            "path": pa.array([path for path, _ in some], pa.binary()),
            "size": pa.array([file.size for _, file in some], pa.int64()),
            "modified_ns": pa.array([file.modified_ns for _, file in some], pa.int64()),
            "hash": pa.array([random.bytes(32) for _ in some], pa.binary(32)),
            "look": pa.array(random.integers(0, 1 << 63, count), pa.uint64()),
            "colours": pa.array([random.bytes(192) for _ in some], pa.binary(192)),
            "thumbnail": pa.array([random.bytes(3000) for _ in some], pa.binary()),
            "reason": pa.array([""] * count, pa.string()),
            "detail": pa.array([""] * count, pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), width),
        }
        empty = [None] * count
        arrays = [columns.get(field.name, pa.array(empty, field.type)) for field in schema(width)]
        table.add(pa.table(arrays, schema=schema(width)))
    index._written_scan()
    return len(items)


def seconds_of(words):
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done


def main(photos, folder):
    index = PhotoIndex.create(folder, photos, seesay.load("box"), name="box")
    count = len(index) or fill(index, photos)
    search = [sys.executable, "-m", "seesay", "search", str(photos), "two dogs in snow", "--index", str(folder)]
    seconds_of(search)
    rows = {"search": [], "load": []}
    for _ in range(ROUNDS):
        for name, words in (("search", search), ("load", [sys.executable, "-c", LOAD])):
            wall, cpu, done = seconds_of(words)
            rows[name].append((wall, cpu))
            if name == "search" and "nothing new" not in done.stderr:
                raise SystemExit(done.stderr)
    result = {"files": count, "memory of the largest MB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10}
    for at, kind in enumerate(("wall s", "CPU s")):
        medians = {name: statistics.median(row[at] for row in values) for name, values in rows.items()}
        spread = {name: [round(f(row[at] for row in values), 2) for f in (min, max)] for name, values in rows.items()}
        result[kind] = {name: round(value, 2) for name, value in medians.items()}
        result[f"{kind} beyond loading"] = round(medians["search"] - medians["load"], 2)
        result[f"{kind} range"] = spread
    result["load average"] = os.getloadavg()[0]
    print(json.dumps(result))
    (Path(__file__).parent / "first_answer.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

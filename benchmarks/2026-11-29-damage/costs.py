"""CPU milliseconds of the checks of an index. Usage: OMP_NUM_THREADS=1 python costs.py FOLDER, which gets 128 MB."""

import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa

from seesay.index.checks import checks_with_vectors, field_checks, file_sum, vector_sums
from seesay.index.photo_table import schema

ROWS, WIDTH, RANKED = 20_000, 512, 3_000


def milliseconds(work):
    times = []
    for _ in range(5):
        begun = time.process_time()
        work()
        times.append(1000 * (time.process_time() - begun))
    return median(times)


def rows_of(count):
    columns = {
        "id": range(count),
        "path": [b"holiday/2024/some photo %d.jpg" % number for number in range(count)],
        "size": [1] * count,
        "modified_ns": [1] * count,
        "hash": [b"h" * 32] * count,
        "look": [1 << 63] * count,
        "colours": [b"c" * 192] * count,
        "reason": [""] * count,
        "detail": [""] * count,
    }
    fields = [field for field in schema(WIDTH) if field.name not in ("thumbnail", "vector")]
    arrays = [pa.array(columns.get(field.name, [None] * count), field.type) for field in fields]
    return pa.table(arrays, schema=pa.schema(fields))


def main(folder):
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file").write_bytes(random.bytes(128_000_000))
    rows, vectors = rows_of(ROWS), random.standard_normal((ROWS, WIDTH), dtype=np.float32)
    checks, some = field_checks(rows), np.ascontiguousarray(vectors[:RANKED])
    print(f"a file of 128 MB: {milliseconds(lambda: file_sum(folder / 'file')):.1f} ms")
    print(f"100,000 rows, fields: {100_000 / ROWS * milliseconds(lambda: field_checks(rows)):.0f} ms")
    vector_ms = 100_000 / ROWS * milliseconds(lambda: checks_with_vectors(checks, vectors))
    print(f"100,000 rows, vectors of {WIDTH}: {vector_ms:.0f} ms")
    print(f"{RANKED:,} ranked rows, sums: {milliseconds(lambda: vector_sums(some)):.2f} ms")
    print(f"{RANKED:,} ranked rows, CRC-32: {milliseconds(lambda: checks_with_vectors(checks[:RANKED], some)):.2f} ms")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

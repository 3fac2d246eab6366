"""Ten thousand images against a million, of random rows: seconds and memory of the search alone.

    python benchmarks/2026-11-29-overlap/search_speed.py 10000 1000000

Rows, hashes and colours are drawn, so that nothing is decoded. One thread. Prints CPU seconds, seconds by the clock,
and the most memory the process had.
"""

import resource
import sys
import time

import numpy as np
import torch

from seesay.data.duplicates import GRID
from seesay.formulas.similarity import unit
from seesay.model.detector import CHUNK, DIM, CopySearch, Described


def described(count: int, first: int, seed: int) -> Described:
    rng = np.random.default_rng(seed)
    return Described(
        row_ND=unit(torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))),
        look_N=rng.integers(0, 2**64, count, dtype=np.uint64),
        colours_N883=rng.integers(0, 256, (count, GRID, GRID, 3), dtype=np.uint8),
        index=np.arange(first, first + count),
    )


def main() -> None:
    torch.set_num_threads(1)
    asked, searched = (int(word) for word in sys.argv[1:3])
    search = CopySearch(described(asked, 0, 1))
    cpu, clock = 0.0, 0.0
    for first in range(0, searched, CHUNK):
        part = described(min(CHUNK, searched - first), first, 2 + first)
        start = time.process_time(), time.perf_counter()
        search.add(part)
        cpu, clock = cpu + time.process_time() - start[0], clock + time.perf_counter() - start[1]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{asked:,} against {searched:,}: {cpu:.0f} CPU seconds, {clock:.0f} by the clock, {memory:.0f} MB at most")


if __name__ == "__main__":
    main()

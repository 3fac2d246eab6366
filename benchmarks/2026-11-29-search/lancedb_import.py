"""CPU seconds to import LanceDB, with its client for servers, without, and without comparing signatures, in turn.

NumPy and Arrow are imported before.

OMP_NUM_THREADS=1 python lancedb_import.py > lancedb_import.log
"""

import statistics
import subprocess
import sys

IMPORT = """
import time, numpy, pyarrow
from contextlib import nullcontext
from seesay.data import lance
if {is_deferred}:
    lance._defer(lance.CLIENT)
begun = time.process_time()
with lance._unchecked_overrides() if {is_unchecked} else nullcontext():
    import lancedb
print(time.process_time() - begun)
"""


def main() -> None:
    seconds: dict[str, list[float]] = {"with": [], "without": [], "without, unchecked": []}
    for _ in range(7):
        for name, values in seconds.items():
            words = [sys.executable, "-c", IMPORT.format(is_deferred=name != "with", is_unchecked="unchecked" in name)]
            values.append(float(subprocess.run(words, check=True, capture_output=True, text=True).stdout))
    for name, values in seconds.items():
        print(f"{name}: {statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()

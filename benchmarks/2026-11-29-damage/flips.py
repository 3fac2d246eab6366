"""One flipped bit in each of the last COUNT bytes of LanceDB's largest file, where numbers and layouts of columns lie.

Usage: OMP_NUM_THREADS=1 python flips.py FOLDER [COUNT]. The index of damage.py without its snapshot, which is made from
the table each time: how many are answered rightly, refused in a line, or end otherwise.
"""

import random
import resource
import shutil
import sys
import warnings
from collections import Counter
from importlib import import_module
from pathlib import Path

from damage import in_a_process, judged, make, read

import seesay
from seesay.index import compressed

# LanceDB asks for as much memory as a damaged length says, and other work is not to pay for it.
MEMORY = 8 << 30


def main(folder, count):
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    compressed.LEAST_BYTES = 1
    warnings.filterwarnings("ignore", message="lancedb fork support")
    shutil.rmtree(folder, ignore_errors=True)
    model = seesay.load("box")
    import_module("lancedb")
    make(folder, model)
    copy, outcomes, choose = folder / "index", Counter(), random.Random(1)
    expected = in_a_process(lambda: read(copy, model))[1]
    shutil.rmtree(copy / "scan")
    path = max(copy.glob("photos.lance/data/*.lance"), key=lambda path: path.stat().st_size)
    whole = path.read_bytes()
    for at in range(len(whole) - count, len(whole)):
        data = bytearray(whole)
        data[at] ^= 1 << choose.randrange(8)
        path.write_bytes(data)
        found = in_a_process(lambda: read(copy, model), log=folder / "log")
        outcome, message = judged(found, expected, copy)
        outcomes[outcome] += 1
        if outcome not in ("right", "refused"):
            print(f"{at - len(whole)} of {len(whole)}: {outcome} {message}", flush=True)
        shutil.rmtree(copy / "scan", ignore_errors=True)
    print(dict(outcomes))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2000)

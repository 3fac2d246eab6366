"""Pairs per second of the data path with two loader processes, of two versions of the code in turn.

    python speed.py BEFORE/src AFTER/src --out speed.json

Synthetic JPEGs of 300 px, crops of 64. Each turn is a process of its own and ends when that many batches, after the
first few, are in the main process, which does nothing else. `crossing` is the same without reading: batches that are
there, of 256 crops of 224 px (38 MB), so that only a copy of them and the handing over are left.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

PAIRS, SIDE, CROP, BATCH = 512, 300, 64, 64
WARM, TIMED = 6, 60
CROSSING = SimpleNamespace(size=224, batch=256, timed=40)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("sources", nargs=2, type=Path, metavar="SRC")
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--out", type=Path, required=True)
    chosen = options.parse_args()
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        pairs = write_pairs(Path(folder) / "pairs")
        for kind in ("reading", "crossing"):
            rates: dict[str, list[float]] = {"before": [], "after": []}
            for turn in range(chosen.rounds):
                for name, source in list(zip(rates, chosen.sources, strict=True))[:: 1 if turn % 2 else -1]:
                    rates[name].append(one_turn(source, kind, pairs))
                    print(kind, turn, name, round(rates[name][-1], 1), flush=True)
            ratios = sorted(after / before for before, after in zip(*rates.values(), strict=True))
            result[kind] = {
                "pairs_per_second": {name: round(statistics.median(values), 1) for name, values in rates.items()},
                "ratio_of_medians": round(statistics.median(rates["after"]) / statistics.median(rates["before"]), 3),
                "ratios": [round(ratio, 3) for ratio in ratios],
            }
    result["machine"] = {"cores": os.cpu_count(), "load": os.getloadavg(), "torch": torch.__version__}
    chosen.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def write_pairs(folder: Path) -> Path:
    folder.mkdir()
    for index in range(PAIRS):
        small = np.random.default_rng(index).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(buffer, "JPEG")
        (folder / f"{index}.jpg").write_bytes(buffer.getvalue())
        (folder / f"{index}.txt").write_text(f"image number {index}\n")
    return folder


def one_turn(source: Path, kind: str, pairs: Path) -> float:
    words = [sys.executable, __file__, kind, str(pairs)]
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "TURN": "1"}
    return float(subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout)


def turn(kind: str, folder: str) -> None:
    """In a process of its own: print pairs per second."""
    from seesay.data.augment import Augment
    from seesay.data.loader import Batches, Crops
    from seesay.data.pairs import open_pairs
    from seesay.data.tokenizer import CaptionTokenizer

    crops = Crops(open_pairs([folder]), CaptionTokenizer([], context=16), augment=Augment(), seed=0, cache=None)
    size, batch, timed = (CROP, BATCH, TIMED) if kind == "reading" else vars(CROSSING).values()
    if kind == "crossing":
        # The code before calls it as torch's DataLoader does.
        name = "read" if hasattr(crops, "read") else "__getitems__"
        ready = getattr(crops, name)(ready_draws(size, batch))
        # In new memory, as a batch that was read is.
        setattr(type(crops), name, lambda *_: replace(ready, pixels_B3SS=ready.pixels_B3SS.clone()))
    batches = Batches(crops, batch_size=batch)
    explain = getattr(batches, "explain_worker_failures", lambda _: nullcontext())
    with closing(batches), explain(lambda: 0):
        stream = batches.starting_at(0, size_at=lambda step: size, workers=2, timeout_seconds=60)
        for _ in range(WARM):
            next(stream)
        started = time.perf_counter()
        for _ in range(timed):
            pixels = next(stream).pixels_B3SS
            assert pixels.shape == (batch, 3, size, size)
        print(timed * batch / (time.perf_counter() - started))


def ready_draws(size: int, batch: int) -> list:
    from seesay.data.loader import Draw

    return [Draw(index % PAIRS, 0, size) for index in range(batch)]


if __name__ == "__main__":
    if os.environ.get("TURN"):
        turn(*sys.argv[1:])
    else:
        main()

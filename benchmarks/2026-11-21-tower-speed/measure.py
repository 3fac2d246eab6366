"""Training steps of one size at several sides, alternating: pairs per second of wall and of CPU time.

python measure.py --model conv-small --sides 32 48 --out result.json
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from seesay.base.records import Tokens
from seesay.base.runtime import Runtime, machine_facts
from seesay.formulas.contrastive import contrastive_loss
from seesay.nets.clip import build_clip
from seesay.nets.presets import preset
from seesay.training.optimizer import optimizer_of
from seesay.training.settings import OptimizerSettings

BATCH = 128
ROUNDS = 12
WARM_UP = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="conv-small")
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 48])
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()

    clip = build_clip(preset(given.model), seed=0)
    optimizer = optimizer_of(clip, OptimizerSettings(learning_rate=1e-3, weight_decay=0.1))
    ids_BL, length_B = torch.randint(0, 1000, (BATCH, 40)), torch.randint(5, 40, (BATCH,))
    tokens = Tokens(ids_BL=ids_BL, length_B=length_B)
    pixels = {side: torch.randn(BATCH, 3, side, side) for side in given.sides}
    seconds: dict[int, list[tuple[float, float]]] = {side: [] for side in given.sides}
    for _ in range(ROUNDS + WARM_UP):
        for side in given.sides:
            wall, cpu = time.perf_counter(), time.process_time()
            embedded = clip(pixels[side], tokens)
            contrastive_loss(embedded.image_BD, embedded.text_BD, embedded.scale).backward()
            optimizer.step()
            optimizer.zero_grad()
            seconds[side].append((time.perf_counter() - wall, time.process_time() - cpu))
    rates = {
        str(side): {
            "pairs_per_second": round(BATCH / statistics.median(wall for wall, _ in told[WARM_UP:]), 1),
            "slowest_and_fastest": [round(BATCH / end(w for w, _ in told[WARM_UP:]), 1) for end in (max, min)],
            "pairs_per_cpu_second": round(BATCH / statistics.median(cpu for _, cpu in told[WARM_UP:]), 1),
        }
        for side, told in seconds.items()
    }
    result = {"model": given.model, "batch": BATCH, "rounds": ROUNDS, "sides": rates}
    result["machine"] = machine_facts(Runtime.find("cpu"))
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(rates, indent=1))


if __name__ == "__main__":
    main()

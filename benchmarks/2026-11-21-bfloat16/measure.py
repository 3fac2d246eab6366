"""A training step in bfloat16 autocast beside the same in float32, alternating, and what the choice is made by.

OMP_NUM_THREADS=1 python measure.py --out result.json
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from seesay.base.records import Tokens
from seesay.base.runtime import Runtime, is_faster_in_bfloat16, machine_facts
from seesay.formulas.contrastive import contrastive_loss
from seesay.nets.clip import build_clip
from seesay.nets.presets import preset
from seesay.training.optimizer import optimizer_of
from seesay.training.settings import OptimizerSettings

CASES = [
    ("conv-tiny", 16, 32),
    ("conv-small", 128, 32),
    ("conv-small", 128, 48),
    ("vit-small", 128, 64),
    ("conv-medium", 64, 64),
    ("RN50", 8, 224),
    ("ViT-B/32", 16, 224),
]
ROUNDS = 7


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--out", type=Path, required=True)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    rows = []
    for name, batch_size, side in CASES:
        rows.append({"model": name, "batch_size": batch_size, "side": side, **measure(name, batch_size, side)})
        print(json.dumps(rows[-1]), flush=True)
    result = {
        "chosen": "bfloat16" if is_faster_in_bfloat16("cpu") else "float32",
        "rounds": ROUNDS,
        "machine": machine_facts(Runtime.find("cpu")),
        "steps": rows,
    }
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")


def measure(name: str, batch_size: int, side: int) -> dict:
    architecture = preset(name)
    clip = build_clip(architecture, seed=0).train()
    optimizer = optimizer_of(clip, OptimizerSettings(learning_rate=1e-4, weight_decay=0.1))
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randn(batch_size, 3, side, side, generator=draw)
    ids_BL = torch.randint(0, architecture.text.vocab_size - 2, (batch_size, 20), generator=draw)
    tokens = Tokens(ids_BL=ids_BL, length_B=torch.randint(6, 20, (batch_size,), generator=draw))

    def step(in_bfloat16: bool) -> float:
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
            embedded = clip(pixels, tokens)
        contrastive_loss(embedded.image_BD.float(), embedded.text_BD.float(), embedded.scale).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return time.process_time() - start

    step(True), step(False)
    seconds = [(step(False), step(True)) if index % 2 else (step(True), step(False))[::-1] for index in range(ROUNDS)]
    ratios = [exact / rounded for exact, rounded in seconds]
    return {
        "float32_cpu_seconds": round(statistics.median(exact for exact, _ in seconds), 4),
        "bfloat16_cpu_seconds": round(statistics.median(rounded for _, rounded in seconds), 4),
        "bfloat16_is_faster_by": round(statistics.median(ratios), 2),
        "least": round(min(ratios), 2),
        "most": round(max(ratios), 2),
    }


if __name__ == "__main__":
    main()

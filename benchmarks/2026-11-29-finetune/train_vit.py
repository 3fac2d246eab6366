"""A model with ViT towers, for the fine-tuning table: 48 px in patches of 8, trained on the pairs of the box.

    OMP_NUM_THREADS=1 python benchmarks/2026-11-29-finetune/train_vit.py RUN MINUTES PAIRS...

PAIRS are what `hold_out.py` of ../2026-11-29-recipe left for the box. The box is its teacher.
"""

import sys
from pathlib import Path

import seesay
from seesay.nets.architecture import VisionTransformerConfig
from seesay.nets.presets import PRESETS, _small

if __name__ == "__main__":
    run, minutes, *pairs = sys.argv[1:]
    image = VisionTransformerConfig(image_size=48, patch=8, width=256, layers=6, heads=4)
    PRESETS["vit-48"] = _small(image, "transformer", 256)
    seesay.train(
        pairs,
        out=run,
        model="vit-48",
        recipe=Path(__file__).with_name("vit.toml"),
        minutes=float(minutes),
        workers=1,
        teacher="box",
    )

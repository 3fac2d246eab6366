"""A model with ViT towers, for the fine-tuning table: 48 px in patches of 8, trained on the pairs of the box.

    OMP_NUM_THREADS=1 python benchmarks/2026-11-29-finetune/train_vit.py RUN PAIRS... --minutes 60

PAIRS are what `hold_out.py --per-class 4` of ../2026-11-29-recipe left for the box. The box is its teacher. With
`--width 192 --layers 4` it has about as many numbers as the box, without twice as many.
"""

import argparse
from pathlib import Path

import seesay
from seesay.nets.architecture import VisionTransformerConfig
from seesay.nets.presets import PRESETS, _small

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("pairs", nargs="+")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    given = parser.parse_args()
    image = VisionTransformerConfig(
        image_size=48, patch=8, width=given.width, layers=given.layers, heads=given.width // 64
    )
    PRESETS["vit-48"] = _small(image, "transformer", given.width)
    seesay.train(
        given.pairs,
        out=given.run,
        model="vit-48",
        recipe=Path(__file__).with_name("vit.toml"),
        minutes=given.minutes,
        workers=1,
        teacher="box",
    )

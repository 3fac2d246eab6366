"""Every gradient of a batch in 1, 2, 4 and 8 pieces beside the undivided batch's: ours, and open_clip's accumulation.

The same small transformer on both sides, half of the patches left out at random, one seeded batch of 32, float32; ours
in float64 as well, where what is left of a difference is not rounding.
open_clip's part is its own `train_one_epoch` with `accum_freq` k, stopped before its optimizer moves anything; a run
without patch dropout shows what of its difference is the dropout, and what is the temperature.

    PYTHONPATH=src OMP_NUM_THREADS=1 python benchmarks/2026-11-21-micro-batches/compare.py --out result.json
"""

import argparse
import contextlib
import json
import logging
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch

ROWS, SIDE, CONTEXT, VOCAB = 32, 32, 16, 200
PIECES = 1, 2, 4, 8


def rows():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (ROWS, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    words = torch.randint(2, VOCAB - 1, (ROWS, CONTEXT - 2), generator=generator)
    start, end = torch.ones(ROWS, 1, dtype=torch.int64), torch.full((ROWS, 1), VOCAB - 1)
    return pixels, torch.cat([start, words, end], dim=1)


def compared(whole, pieces):
    """Relative distance of the whole gradient, and the factor on the temperature's."""
    others = [name for name in whole if name != "logit_scale"]
    apart = sum(float((pieces[name] - whole[name]).square().sum()) for name in others) ** 0.5
    length = sum(float(whole[name].square().sum()) for name in others) ** 0.5
    scale = float(pieces["logit_scale"]), float(whole["logit_scale"])
    return {
        "towers_relative_difference": apart / length,
        "scale_relative_difference": abs(scale[0] - scale[1]) / abs(scale[1]),
        "scale_factor": scale[0] / scale[1],
    }


def ours(pieces, *, patch_dropout, dtype=torch.float32):
    from seesay.base.records import Batch, Tokens
    from seesay.base.runtime import Runtime
    from seesay.data.images import Preprocess
    from seesay.nets.architecture import Architecture, TextTransformerConfig, VisionTransformerConfig
    from seesay.nets.clip import build_clip
    from seesay.training.objectives import OBJECTIVES
    from seesay.training.process_group import ProcessGroup
    from seesay.training.sharding import parallelize
    from seesay.training.step import Stepper

    architecture = Architecture(
        embed_dim=64,
        image=VisionTransformerConfig(image_size=SIDE, patch=4, width=64, layers=3, heads=2),
        text=TextTransformerConfig(vocab_size=VOCAB, context=CONTEXT, width=64, layers=3, heads=2),
    )

    class Typed(Preprocess):
        def normalise(self, pixels_B3SS):
            return super().normalise(pixels_B3SS).to(dtype)

    clip = build_clip(architecture, seed=0).to(dtype).train()
    clip.image_tower.patch_dropout = patch_dropout
    stepper = Stepper(
        parallel=parallelize(clip, ProcessGroup(Runtime(device="cpu", cores=1)), parallel="ddp"),
        preprocess=Typed(size=SIDE),
        objective=OBJECTIVES["contrastive"],
        seed=0,
        micro_batch=ROWS // pieces,
    )
    pixels, ids = rows()
    batch = Batch(
        pixels_B3SS=pixels,
        tokens=Tokens(ids_BL=ids, length_B=torch.full((ROWS,), CONTEXT)),
        sample_B=torch.arange(ROWS),
        image_id_B=torch.arange(ROWS),
        caption_id_B=torch.arange(ROWS),
    )
    stepper.gradients(batch, [ROWS], step=0)
    return {name: p.grad.clone() for name, p in clip.named_parameters()}


class Seen(Exception):
    """The gradients are there; nothing need be updated."""


def open_clips(pieces, *, patch_dropout):
    from open_clip import ClipLoss
    from open_clip.model import CLIP
    from open_clip_train import train as theirs

    torch.manual_seed(0)
    model = CLIP(
        embed_dim=64,
        vision_cfg={"image_size": SIDE, "layers": 3, "width": 64, "head_width": 32, "patch_size": 4}
        | {"patch_dropout": patch_dropout},
        text_cfg={"context_length": CONTEXT, "vocab_size": VOCAB, "width": 64, "heads": 2, "layers": 3},
        output_dict=True,
    )
    pixels, ids = rows()
    pixels = pixels.float() / 127.5 - 1
    size = ROWS // pieces
    parts = [(pixels[first : first + size], ids[first : first + size]) for first in range(0, ROWS, size)]

    class Loader(list):
        num_batches, num_samples = pieces, ROWS

    data = {"train": SimpleNamespace(set_epoch=lambda _: None, dataloader=Loader(parts))}

    class Optimizer:
        def zero_grad(self):
            model.zero_grad()

        def step(self):
            raise Seen

    options = SimpleNamespace(
        device="cpu", precision="fp32", distill=False, accum_freq=pieces, skip_scheduler=True, horovod=False,
        grad_clip_norm=None, world_size=1, rank=0, local_rank=0, log_every_n_steps=1, wandb=False, batch_size=size,
    )  # fmt: skip
    torch.manual_seed(1)
    with contextlib.suppress(Seen):
        theirs.train_one_epoch(model, data, ClipLoss(), 0, Optimizer(), None, None, None, options)
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    logging.disable()
    torch.set_num_threads(1)
    result = {"torch": torch.__version__, "rows": ROWS, "measured": []}
    sides = {"seesay": ours, "seesay in float64": partial(ours, dtype=torch.float64), "open_clip": open_clips}
    for side, gradients in sides.items():
        for patch_dropout in (0.5, 0.0):
            whole = gradients(1, patch_dropout=patch_dropout)
            for pieces in PIECES:
                told = compared(whole, gradients(pieces, patch_dropout=patch_dropout))
                result["measured"].append({"side": side, "patch_dropout": patch_dropout, "pieces": pieces, **told})
                print(
                    f"{side:17}  patch dropout {patch_dropout:.1f}  pieces {pieces}  "
                    f"towers {told['towers_relative_difference']:.1e}  scale {told['scale_relative_difference']:.1e}  "
                    f"factor on the scale's gradient {told['scale_factor']:.4f}"
                )
    for patch_dropout in (0.5, 0.0):
        exact = ours(1, patch_dropout=patch_dropout, dtype=torch.float64)
        for pieces in PIECES:
            told = compared(exact, ours(pieces, patch_dropout=patch_dropout))
            result["measured"].append(
                {"side": "seesay beside float64 undivided", "patch_dropout": patch_dropout, "pieces": pieces, **told}
            )
            print(
                f"seesay beside float64 undivided  patch dropout {patch_dropout:.1f}  pieces {pieces}  "
                f"towers {told['towers_relative_difference']:.1e}  scale {told['scale_relative_difference']:.1e}"
            )
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

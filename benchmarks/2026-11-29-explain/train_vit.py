"""A small vision transformer that has learned from the model in the box, where none can be trained from nothing.

    python benchmarks/2026-11-29-explain/train_vit.py DATA FOLDER MINUTES

DATA is the folder with the `train-*` sets. The tower, 4 blocks of width 192 on 48 px in patches of 8, learns to give an
image the row that box gives it (1 - cosine, AdamW, a cosine schedule, random crops and mirror images that both see
alike); its text tower is box's own. FOLDER is a model folder, written again every two minutes.
"""

import math
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional as F

import seesay
from seesay.data.pairs import open_pairs
from seesay.nets.architecture import Architecture, VisionTransformerConfig
from seesay.nets.clip import build_clip

SETS = ["tinyimagenet", "miniimagenet", "everyday", "flickr8k"]
BATCH, RATE = 96, 1e-3


def read(data: Path, model: seesay.Model, per_set: int) -> torch.Tensor:
    """Images of all sets, uint8 (N, 3, S, S)."""
    images = []
    for name in SETS:
        pairs = open_pairs([data / f"train-{name}"])
        step = max(1, len(pairs) // per_set)
        images += [model.preprocess.read(pairs[index].image) for index in range(0, len(pairs), step)][:per_set]
    return torch.stack(images)


def cropped(pixels: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """A mirrored half of the batch, moved by up to 6 px: one move for a batch."""
    flip = torch.rand(len(pixels), generator=random) < 0.5
    pixels = torch.where(flip[:, None, None, None], pixels.flip(3), pixels)
    across, down = torch.randint(-6, 7, (2,), generator=random).tolist()
    side = pixels.shape[-1]
    return F.pad(pixels, (6, 6, 6, 6), mode="reflect")[:, :, 6 + down : 6 + down + side, 6 + across : 6 + across + side]


if __name__ == "__main__":
    data, folder, minutes = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    teacher = seesay.load("box")
    config = VisionTransformerConfig(image_size=48, patch=8, width=192, layers=4, heads=6)
    architecture = Architecture(
        embed_dim=teacher.architecture.embed_dim, image=config, text=teacher.architecture.text, scoring="softmax"
    )
    clip = build_clip(architecture, seed=0)
    clip.text_tower.load_state_dict(teacher.clip.text_tower.state_dict())
    clip.logit_scale.data.copy_(teacher.clip.logit_scale)
    student = seesay.Model(
        clip,
        architecture,
        teacher.tokenizer,
        preprocess=teacher.preprocess,
        templates=teacher.templates,
        name="vit-of-box",
    )
    images = read(data, teacher, per_set=9000)
    print(f"{len(images)} images", flush=True)
    random = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(clip.image_tower.parameters(), lr=RATE, weight_decay=0.05, betas=(0.9, 0.98))
    start, step, saved, recent = time.time(), 0, time.time(), 1.0
    clip.image_tower.train()
    while (share := (time.time() - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, step / 100) * 0.5 * (1 + math.cos(math.pi * share))
        chosen = torch.randint(len(images), (BATCH,), generator=random)
        pixels = teacher.preprocess.normalise(cropped(images[chosen].float(), random))
        with torch.no_grad():
            target = teacher.clip.embed_images(pixels)
        loss = 1 - (clip.embed_images(pixels) * target).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step, recent = step + 1, 0.95 * recent + 0.05 * float(loss)
        if step % 20 == 0:
            print(f"step {step}  {step * BATCH} images  1 - cosine {recent:.3f}  {share:.0%}", flush=True)
        if time.time() - saved > 120:
            student.save(folder)
            saved = time.time()
    clip.eval()
    student.save(folder)
    print(f"done: {step} steps, {step * BATCH} images, 1 - cosine {recent:.3f}")

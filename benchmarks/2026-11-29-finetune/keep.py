"""What pays of the old model as a teacher: a quick look with the box at 32 px, 60 steps of 32, by a loop of its own.

    python benchmarks/2026-11-29-finetune/keep.py --data ../shared/data --work WORK --target eval-mnist \
        --how naive full image lora --weights 0 30 100 --images drawn guard

Target: half of the set is learned from, the other half measured (`compare.split`). Kept are rows of 600 drawn images
(`data.drawings.textures`), or of 800 of eval-tinyimagenet-val (`--images guard`); of the others of these up to 900 are
measured, top-1 of 200 classes. "naive" is a loop as open_clip
has it; it and weight 0 keep nothing. One line for each: target and Tiny ImageNet in percent, CPU seconds.
"""

import argparse
import copy
import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from compare import GUARD, GUARD_IMAGES, measures, split

import seesay
from seesay.data.augment import Augment
from seesay.data.class_names import imagenet_names
from seesay.data.drawings import textures
from seesay.data.evalsets import open_train_part
from seesay.data.labelled import ClassPairs
from seesay.data.loader import Batches, Crops
from seesay.data.tokenizer import pad
from seesay.finetuning import measures as measured_by
from seesay.finetuning.guards import DRAWN
from seesay.model.encode import read_pixels
from seesay.nets.adapters import add_low_rank
from seesay.nets.batch_norm import train_mode
from seesay.tasks.words import choose_words
from seesay.training.start import without_adapters

SIDE, STEPS, BATCH, NAMES = 32, 60, 32, 256
RATES = {"lora": 2e-3}
RATE = 2e-4


def drift(row_BD: torch.Tensor, before_BD: torch.Tensor) -> torch.Tensor:
    """How far unit rows have turned from what they were: the mean of one minus their cosine."""
    return (1 - (row_BD * before_BD).sum(-1)).mean()


def trained(old, target: Path, *, how: str, weight: float, kept_N3SS: torch.Tensor | None):
    """The box after 60 steps; `kept_N3SS` and names of ImageNet keep their rows with that weight."""
    learner = copy.copy(old)
    clip = learner.clip = copy.deepcopy(old.clip)
    clip.requires_grad_(True)
    if how == "image":
        torch.nn.ModuleList(clip.text_parts()).requires_grad_(False)
        clip.logit_scale.requires_grad_(False)
    if how == "lora":
        torch.manual_seed(0)
        add_low_rank(clip, rank=8, alpha=16.0)
    train_mode(clip, has_statistics=how != "naive")
    labelled = open_train_part(target)
    words = choose_words(old, (labelled,), labelled.class_names)
    prompts = [tuple(template.replace("{}", str(name)) for template in words.templates) for name in words.names]
    pairs = ClassPairs(labelled, prompts, chosen=range(len(labelled)))
    crops = Crops(pairs, learner.tokenizer, augment=Augment(scale=0.9), seed=0, cache=None)
    stream = Batches(crops, batch_size=BATCH).starting_at(0, size_at=lambda step: SIDE, workers=0)
    learned = [parameter for parameter in clip.parameters() if parameter.requires_grad]
    groups = [{"params": [p for p in learned if p.ndim > 1], "weight_decay": 0.1}]
    groups += [{"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0}]
    rate = RATES.get(how, RATE)
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), eps=1e-6)
    names = list(dict.fromkeys(imagenet_names().values()))
    texts = [t.replace("{}", name) for name in names for t in random.Random(1).sample(list(old.templates), 2)]
    before_MD, ids, scale = old.encode_texts(texts), learner.tokenizer(texts), old.logit_scale
    before_ND = None if kept_N3SS is None else torch.cat([old.encode_pixels(part) for part in kept_N3SS.split(256)])
    class_CD = old.classifier(words.names, words.templates).weights
    generator = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / (0.05 * STEPS)) * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        batch = next(stream)
        pixels, kept = batch.pixels_B3SS, 0.0
        B = len(pixels)
        if kept_N3SS is not None:
            drawn = torch.randint(len(kept_N3SS), (BATCH,), generator=generator)
            pixels = torch.cat([pixels, kept_N3SS[drawn]])
        with torch.autocast("cpu", torch.bfloat16):
            rows = clip.embed_images(learner.preprocess.normalise(pixels)).float()
        image_BD, text_BD = rows[:B], clip.embed_texts(batch.tokens)
        if kept_N3SS is not None:
            named = torch.randint(len(ids), (NAMES,), generator=generator)
            kept = drift(rows[B:], before_ND[drawn])
            if how != "image":
                kept = kept + drift(clip.embed_texts(pad([ids[k] for k in named.tolist()])), before_MD[named])
        if how == "image":
            label_B = torch.tensor([labelled.label(int(sample)) for sample in batch.sample_B])
            loss = F.cross_entropy(scale * image_BD @ class_CD.T, label_B)
        else:
            match = (batch.image_id_B[:, None] == batch.image_id_B) | (
                batch.caption_id_B[:, None] == batch.caption_id_B
            )
            match = torch.eye(B, dtype=torch.bool) if how == "naive" else match
            share, logits = match.float() / match.sum(1, keepdim=True), clip.logit_scale.exp() * image_BD @ text_BD.T
            loss = (
                F.cross_entropy(logits, share) + F.cross_entropy(logits.T, share.T / share.T.sum(1, keepdim=True))
            ) / 2
        optimizer.zero_grad()
        (loss + weight * kept).backward()
        optimizer.step()
    clip.eval()
    return without_adapters(learner) if how == "lora" else learner


def main() -> None:
    """One line for each way, weight and kind of images."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--target", default="eval-mnist")
    parser.add_argument("--how", nargs="+", default=["naive", "full", "image", "lora"])
    parser.add_argument("--weights", type=float, nargs="+", default=[0, 30])
    parser.add_argument("--images", nargs="+", choices=("drawn", "guard"), default=["drawn"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measured_by.MOST_IMAGES = 900
    guard = split(arguments.data / GUARD, arguments.work / "guard", first="train", second="test", count=GUARD_IMAGES)
    source = arguments.data / arguments.target
    target = split(source, arguments.work / arguments.target, first="train", second="test")
    old = seesay.load("box")
    old.preprocess = old.preprocess.model_copy(update={"size": SIDE})
    judged = measures(old, target, guard, arguments.data / "eval-flickr8k-dev", has_own_words=False)
    judged.pop("flickr8k r10")

    def show(words: str, model, seconds: float) -> None:
        scores = "  ".join(f"{name} {100 * each.answers(model).mean:.1f}" for name, each in judged.items())
        print(f"{arguments.target}  {words}: {scores}  {seconds:.0f} s", flush=True)

    show("old", old, 0)
    labelled = open_train_part(guard)
    drawn = [torch.from_numpy(image).permute(2, 0, 1) for image in textures(DRAWN, SIDE)]
    kept = {"drawn": torch.stack(drawn)} if "drawn" in arguments.images else {}
    if "guard" in arguments.images:
        kept["guard"] = torch.stack(read_pixels(old, labelled.image, len(labelled))[0])
    for how in arguments.how:
        for weight in arguments.weights if how != "naive" else [0]:
            for kind in kept if weight else ["nothing"]:
                began = time.process_time()
                model = trained(old, target, how=how, weight=weight, kept_N3SS=kept.get(kind))
                show(f"{how}, {kind} kept with weight {weight:g}", model, time.process_time() - began)


if __name__ == "__main__":
    main()

"""What the heat of `model.explain` is worth.

    python benchmarks/2026-11-29-explain/measure.py curves|random|halves|time MODEL DATA

curves   deletion and insertion on 300 images of eval-caltech101: the probability of the class that the model names
         (of 100), while cells of 8 px are blanked with the image's mean colour, hottest first, or put in. Beside it
         random order, and what the last layer holds without gradients: attention, or the mean of a map's channels.
         Paired t-tests over images.
random   Spearman's correlation of an image's heat with that of the same tower with random weights, 100 images.
halves   two images side by side in one square, each cut to its middle half, 200 pairs of images of
         eval-tinyimagenet-val that the model names right (of 200 classes): does the heat lie on the named half?
time     model.explain against encode_images + encode_texts, CPU seconds, ViT-B/32 with random weights.
"""

import copy
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr, ttest_rel

import seesay
from seesay.data.evalsets import open_evalset
from seesay.formulas.relevance import curve_area, rank_of
from seesay.model.explain import relevance
from seesay.nets.clip import build_clip
from seesay.nets.presets import preset
from seesay.nets.recorded import RecordedAttention, recorded_outputs

CELL, STEP = 8, 4


def read(model, evalset, indices):
    return torch.stack([model.preprocess.read(evalset.image(index)) for index in indices])


def on_cells(heat, side):
    """Heat of any grid as the mean over cells of `CELL` px, (B, cells, cells)."""
    pixels = F.interpolate(heat[:, None].float(), size=(side, side), mode="bilinear", align_corners=False)
    return F.avg_pool2d(pixels, CELL)[:, 0]


def last_layer(model, pixels):
    """Attention of the last layer's pooled position to the patches, or the mean of the last map's channels."""
    modules = model.clip.image_tower.map_modules()
    with torch.no_grad(), RecordedAttention() as attention, recorded_outputs(modules) as outputs:
        model.clip.embed_images(model.preprocess.normalise(pixels))
    if modules:
        return outputs[-1].mean(1)
    row = attention.weights[-1][:, :, 0].mean(1)
    side = int(row.shape[1] ** 0.5)
    return row[:, -side * side :].unflatten(1, (side, side))


def scores(model, classifier, pixels, target):
    return torch.cat([classifier.probabilities(model.encode_pixels(part)) for part in pixels.split(256)])[
        torch.arange(len(pixels)), target
    ]


def areas(model, classifier, pixels, target, heat):
    """Deletion and insertion areas (B,) by cells."""
    side = pixels.shape[-1]
    cells = side // CELL
    rank = rank_of(on_cells(heat, side).flatten(1)).unflatten(1, (cells, cells))
    mean = pixels.float().mean((2, 3), keepdim=True).round().to(torch.uint8).expand_as(pixels)
    deleted, inserted = [], []
    for count in range(0, cells * cells + 1, STEP):
        is_hot = (rank < count).repeat_interleave(CELL, 1).repeat_interleave(CELL, 2)[:, None]
        deleted.append(scores(model, classifier, torch.where(is_hot, mean, pixels), target))
        inserted.append(scores(model, classifier, torch.where(is_hot, pixels, mean), target))
    return curve_area(torch.stack(deleted, 1)).numpy(), curve_area(torch.stack(inserted, 1)).numpy()


def heat_of(model, pixels, rows):
    parts = [relevance(model, *both)[1] for both in zip(pixels.split(64), rows.split(64), strict=True)]
    return torch.cat(parts)


def curves(model, data, count=300):
    evalset = open_evalset(str(data / "eval-caltech101"))
    chosen = np.random.default_rng(0).permutation(len(evalset))[:count].tolist()
    pixels = read(model, evalset, chosen)
    classifier = model.classifier(evalset.class_names)
    target = classifier.scores(model.encode_pixels(pixels)).argmax(1)
    heats = {
        "gradient": heat_of(model, pixels, classifier.weights[target]),
        "random": torch.rand(count, 6, 6, generator=torch.Generator().manual_seed(0)),
        "last layer": last_layer(model, pixels),
    }
    found = {name: areas(model, classifier, pixels, target, heat) for name, heat in heats.items()}
    print(f"{model.name}: n {count}")
    for which, index in (("deletion", 0), ("insertion", 1)):
        ours = found["gradient"][index]
        print(f"  {which:9} gradient {ours.mean():.4f}")
        for other in ("random", "last layer"):
            theirs = found[other][index]
            test = ttest_rel(ours, theirs)
            low, high = test.confidence_interval()
            print(
                f"            {other:10} {theirs.mean():.4f}  difference {(ours - theirs).mean():+.4f} "
                f"[{low:+.4f}, {high:+.4f}]  p {test.pvalue:.1e}"
            )


def randomised(model, data, count=100):
    evalset = open_evalset(str(data / "eval-caltech101"))
    pixels = read(model, evalset, np.random.default_rng(1).permutation(len(evalset))[:count].tolist())
    classifier = model.classifier(evalset.class_names)
    rows = classifier.weights[classifier.scores(model.encode_pixels(pixels)).argmax(1)]
    other = copy.copy(model)
    other.clip = build_clip(model.architecture, seed=7).eval()
    heats = [on_cells(heat_of(each, pixels, rows), pixels.shape[-1]).flatten(1) for each in (model, other)]
    found = [spearmanr(ours, theirs).statistic for ours, theirs in zip(*heats, strict=True)]
    found = np.nan_to_num(found)
    print(
        f"{model.name}: correlation with random weights: mean {np.mean(found):.3f}, mean |r| {np.abs(found).mean():.3f}"
    )


def halves(model, data, count=200):
    evalset = open_evalset(str(data / "eval-tinyimagenet-val"))
    classifier = model.classifier(evalset.class_names)
    pixels = read(model, evalset, range(len(evalset)))
    answer = torch.cat([classifier.scores(model.encode_pixels(part)).argmax(1) for part in pixels.split(256)])
    label = torch.tensor([evalset.label(index) for index in range(len(evalset))])
    right = torch.nonzero(answer == label).flatten().tolist()
    random = np.random.default_rng(0)
    pairs = []
    while len(pairs) < count:
        left, other = random.choice(right, 2, replace=False)
        if label[left] != label[other]:
            pairs.append((int(left), int(other)))
    half = pixels.shape[-1] // 2
    middle = slice(half // 2, half // 2 + half)
    frames = torch.stack([torch.cat([pixels[a][:, :, middle], pixels[b][:, :, middle]], dim=2) for a, b in pairs])
    named = [classifier.weights[label[[pair[side] for pair in pairs]]] for side in (0, 1)]
    score = [(model.encode_pixels(frames) * row).sum(1) for row in named]
    print(f"{model.name}: {len(right)} of {len(label)} images named right; {count} pairs")
    for name, rows in (("text alone", named), ("with contrast", [named[0] - named[1], named[1] - named[0]])):
        heat = [heat_of(model, frames, row) for row in rows]
        share = [(each[:, :, : each.shape[2] // 2].sum((1, 2)) / each.sum((1, 2)).clamp(min=1e-9)) for each in heat]
        hits = torch.cat([share[0] > 0.5, share[1] < 0.5]).float()
        print(f"  {name:13} heat on the named half: {hits.mean():.3f} of {len(hits)}", end="")
        print(f"; both of a pair: {((share[0] > 0.5) & (share[1] < 0.5)).float().mean():.3f}", end="")
        print(f"; the half with more heat for its own text: {(share[0] > share[1]).float().mean():.3f}")
    print(f"  (cosines {float(score[0].mean()):.3f}, {float(score[1].mean()):.3f})")


def timed(data):
    model = seesay.load("box")
    clip = build_clip(preset("ViT-B/32"), seed=0).eval()
    model = copy.copy(model)
    model.clip, model.architecture = clip, preset("ViT-B/32")
    model.preprocess = model.preprocess.model_copy(update={"size": 224})
    photo = np.random.default_rng(0).integers(0, 256, (400, 600, 3), np.uint8)
    ours, forward, image_only = [], [], []
    for _ in range(9):
        start = time.process_time()
        model.explain(photo, "a photo of a cat")
        ours.append(time.process_time() - start)
        start = time.process_time()
        model.encode_images([photo])
        middle = time.process_time()
        model.encode_texts(["a photo of a cat"])
        forward.append(time.process_time() - start)
        image_only.append(middle - start)
    ours, forward, image_only = (statistics.median(each[2:]) for each in (ours, forward, image_only))
    print(f"ViT-B/32, one thread, CPU seconds, median of 7: explain {ours:.3f}, forward of both towers {forward:.3f}:")
    print(f"  {ours / forward:.2f} forward passes; of the image tower alone {image_only:.3f}: {ours / image_only:.2f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, name, data = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if what == "time":
        timed(data)
    else:
        {"curves": curves, "random": randomised, "halves": halves}[what](seesay.load(name), data)

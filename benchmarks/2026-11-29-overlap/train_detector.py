"""Trains the detector of copies that `seesay overlap` has: InfoNCE between an image and a copy of it.

    python benchmarks/2026-11-29-overlap/train_detector.py --data ../shared/data --minutes 15 --out detector.safetensors

It reads `train-*` alone. What the paper's appendix C says: no batch normalisation, GELU, halving by averages, a fixed
temperature of 0.07, large batches, and hard copies. Its weight normalisation comes with `--kind adamw`, and is folded
into plain kernels at the end; Muon does without. 12,000 images of `train-*` are held out; copies of 2,000 of them,
hidden among 8,000 others, say at the end how well it does. One thread. The
optimizer, the learning rate's curve and the loss are those of `seesay train`.

B = images, S = side.
"""

import argparse
import io
import math
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from seesay.base.errors import BrokenSample
from seesay.data.decode import decode
from seesay.data.duplicates import COPIES, _font
from seesay.data.pairs import open_pairs
from seesay.formulas.contrastive import contrastive_loss
from seesay.nets.convolutional import CopyTower, PlainBlock
from seesay.training.optimizer import optimizer_of, rate_factor
from seesay.training.plan import OptimizerPlan

STORED, SIDE = 80, 48
WIDTHS, DIM = (64, 128), 128
BATCH, RUN, WINDOW = 384, 16, 96  # a run is images side by side by their captions, a window is runs side by side
TEMPERATURE = 0.07
SQUASH = Image.Resampling.BILINEAR
HELD_OUT, COPIED = 12_000, 2_000


def stored_images(data: Path, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """All images of `train-*`, squashed to `STORED` px, (N, S, S, 3) uint8, and an order by set and caption, (N,)."""
    if cache.exists():
        found = np.load(cache, mmap_mode="r")
        return found, np.load(cache.with_suffix(".order.npy"))
    pairs = [open_pairs([folder]) for folder in sorted(data.glob("train-*"))]
    total = sum(map(len, pairs))
    images = np.lib.format.open_memmap(cache, "w+", np.uint8, (total, STORED, STORED, 3))
    labels = []
    for source in pairs:
        for index in range(len(source)):
            pair = source[index]
            try:
                image = Image.fromarray(decode(pair.image))
            except BrokenSample:
                continue
            images[len(labels)] = image.resize((STORED, STORED), Image.Resampling.BICUBIC)
            labels.append((source.name, min(pair.captions)))
        print(source.name, len(labels), flush=True)
    order = np.array(sorted(range(len(labels)), key=labels.__getitem__))
    np.save(cache.with_suffix(".order.npy"), order)
    return images, order


def hard_copy(image: Image.Image, rng: np.random.Generator, hard: float) -> Image.Image:
    """A copy by several ways at once, (S, S): a box, turned, mirrored or framed, written on, resized, and a JPEG."""
    share = rng.uniform(1 - 0.45 * hard, 1.0) ** 0.5
    if rng.random() < 0.25:
        share = rng.uniform(1.0, 1.0 + 0.35 * hard)  # a frame
    stretch = 1.3 ** (hard * rng.uniform(-1, 1))
    angle = math.radians(12 * rng.uniform(-1, 1)) * hard if rng.random() < 0.5 else 0.0
    mirror = -1 if rng.random() < 0.4 * hard else 1
    width, height = share * STORED * stretch**0.5, share * STORED / stretch**0.5
    slack_x, slack_y = abs(STORED - width) / 2, abs(STORED - height) / 2
    if rng.random() < 0.3:
        slack_x = slack_y = 0.0
    x, y = STORED / 2 + slack_x * rng.uniform(-1, 1), STORED / 2 + slack_y * rng.uniform(-1, 1)
    a, b = mirror * width / SIDE * math.cos(angle), height / SIDE * math.sin(angle)
    d, e = -mirror * width / SIDE * math.sin(angle), height / SIDE * math.cos(angle)
    matrix = (a, b, x - (a + b) * SIDE / 2, d, e, y - (d + e) * SIDE / 2)
    fill = tuple(rng.integers(0, 256, 3).tolist()) if rng.random() < 0.6 else (int(rng.choice((0, 128, 255))),) * 3
    how = (Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)[
        rng.choice(3, p=(0.1, 0.5, 0.4))
    ]
    image = image.transform((SIDE, SIDE), Image.Transform.AFFINE, matrix, how, fillcolor=fill)
    if rng.random() < 0.2 * hard:
        image = written_on(image, rng)
    if rng.random() < 0.3 * hard:
        small = round(SIDE * rng.uniform(0.4, 0.9))
        filters = list(Image.Resampling)
        image = image.resize((small, small), filters[rng.integers(6)]).resize((SIDE, SIDE), filters[rng.integers(6)])
    if rng.random() < 0.35 * hard:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(12, 60)))
        image = Image.open(file)
    return image


def written_on(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Letters of any size, anywhere."""
    text = "".join(chr(code) for code in rng.integers(65, 123, rng.integers(3, 14)))
    size = int(rng.integers(6, 22))
    ink, edge = (tuple(rng.integers(0, 256, 3).tolist()) if rng.random() < 0.5 else (255,) * 3 for _ in range(2))
    place = int(rng.integers(-4, SIDE // 2)), int(rng.integers(0, SIDE - 8))
    ImageDraw.Draw(image).text(place, text, ink, _font(size), stroke_width=size // 12, stroke_fill=edge)
    return image


def recoloured(pixels_B3SS: Tensor, hard: float) -> Tensor:
    """Bytes as fractions, with brightness, contrast, saturation and hue of each drawn anew for most."""
    x = pixels_B3SS.float() / 255
    B = len(x)
    drawn = hard * (torch.rand(B, 5) * 2 - 1) * (torch.rand(B, 5) < 0.6)
    gain, contrast, colour = (torch.exp(0.45 * drawn[:, n])[:, None, None, None] for n in range(3))
    x = (x * gain).clamp_(0, 1)
    x = (x - x.mean((1, 2, 3), keepdim=True)) * contrast + x.mean((1, 2, 3), keepdim=True)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * colour
    # A turn about the axis of greys (Rodrigues).
    angle = 0.5 * drawn[:, 3]
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    matrix = cos * torch.eye(3) + (1 - cos) / 3 + sin * cross
    x = torch.bmm(matrix, x.flatten(2)).view_as(x)
    return x.clamp_(0, 1)


def views(images: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A batch as it is, and as hard copies; fractions (B, 3, S, S)."""
    plain, hard = [], []
    for pixels in images:
        image = Image.fromarray(pixels)
        plain.append(np.asarray(image.reduce(2) if STORED == 2 * SIDE else image.resize((SIDE, SIDE), SQUASH)))
        hard.append(np.asarray(hard_copy(image, rng, 1.0)))
    plain_B3SS, hard_B3SS = (torch.from_numpy(np.stack(each)).permute(0, 3, 1, 2) for each in (plain, hard))
    return plain_B3SS.float() / 255, recoloured(hard_B3SS, 1.0)


def with_weight_norm(tower: nn.Module, is_normed: bool = True) -> None:
    """Gains times directions; each block starts as the identity."""
    for module in tower.modules():
        if isinstance(module, nn.Conv2d):
            # He et al. 2015: the variance of what comes in is kept; a GELU halves it.
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if is_normed:
                parametrizations.weight_norm(module)
    for module in tower.modules():
        if isinstance(module, PlainBlock):
            (module.conv_2.parametrizations.weight.original0 if is_normed else module.conv_2.weight).data.mul_(0.1)


def embed(tower: nn.Module, pixels_NSS3: np.ndarray) -> Tensor:
    """Bytes of `SIDE` px to unit rows (N, D)."""
    rows = []
    with torch.inference_mode():
        for first in range(0, len(pixels_NSS3), 512):
            part = torch.from_numpy(np.ascontiguousarray(pixels_NSS3[first : first + 512])).permute(0, 3, 1, 2)
            rows.append(nn.functional.normalize(tower((part.float() / 255 - 0.5) / 0.25)))
    return torch.cat(rows)


def measured(tower: nn.Module, images: np.ndarray, seed: int = 0) -> str:
    """How many copies of held out images are found among others at 99 % precision, by way of copying."""
    rng = np.random.default_rng(seed)
    squashed = np.stack([Image.fromarray(each).resize((SIDE, SIDE), SQUASH) for each in images])
    names = list(COPIES)
    copies = np.stack(
        [COPIES[names[n % 10]](Image.fromarray(images[n]), rng).resize((SIDE, SIDE), SQUASH) for n in range(COPIED)]
    )
    others, copied = embed(tower, squashed), embed(tower, copies)
    # Query: every held out image. To be found: its copy. The images themselves are not in the set that is searched,
    # but for those without a copy, which stand for the training images.
    gallery = torch.cat([copied, others[COPIED + 2000 :]])
    best, at = (others[: COPIED + 2000] @ gallery.T).max(1)
    is_copy = torch.arange(len(best)) < COPIED
    is_right = is_copy & (at == torch.arange(len(best)))
    order = best.argsort(descending=True)
    precision = is_right[order].cumsum(0) / torch.arange(1, len(best) + 1)
    last = int((precision >= 0.99).nonzero().max()) if (precision >= 0.99).any() else -1
    threshold = float(best[order[last]]) if last >= 0 else 2.0
    is_found = is_right & (best >= threshold)
    ways = ", ".join(f"{name} {100 * float(is_found[n:COPIED:10].float().mean()):.1f}" for n, name in enumerate(names))
    return (
        f"recall {100 * float(is_found.sum()) / COPIED:.2f} % at precision 99 %, threshold {threshold:.3f}; first "
        f"{100 * float(is_right.sum()) / COPIED:.2f} %; {ways}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=Path("images.npy"))
    parser.add_argument("--minutes", type=float, default=15, help="CPU minutes of training")
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--out", type=Path, default=Path("detector.safetensors"))
    parser.add_argument("--kind", default="muon")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    images, order = stored_images(arguments.data, arguments.cache)
    # Whole runs of neighbours are held out, so that what is measured has neighbours of one kind too.
    runs = np.array_split(order, len(order) // RUN)
    is_held = np.isin(np.arange(len(runs)), rng.choice(len(runs), HELD_OUT // RUN, replace=False))
    held = rng.permutation(np.concatenate([run for run, out in zip(runs, is_held, strict=True) if out]))
    runs = [run for run, out in zip(runs, is_held, strict=True) if not out]
    tower = CopyTower(WIDTHS, DIM)
    with_weight_norm(tower, arguments.kind != "muon")
    if arguments.start:
        tower.load_state_dict({name: tensor.float() for name, tensor in load_file(arguments.start).items()})
    print(f"{sum(p.numel() for p in tower.parameters()):,} parameters, {sum(map(len, runs)):,} images", flush=True)
    plan = OptimizerPlan(
        kind=arguments.kind, learning_rate=arguments.rate, weight_decay=0.0, beta1=0.9, beta2=0.98, epsilon=1e-6
    )
    optimizer = optimizer_of(tower, plan)
    start, steps, logged = time.process_time(), 0, 0.0
    while (share := (time.process_time() - start) / (60 * arguments.minutes)) < 1:
        # Every other batch is of images whose captions are near to each other, which are harder to tell apart.
        window = len(runs) if steps % 2 else WINDOW
        first = rng.integers(len(runs) - window + 1)
        chosen = np.concatenate([runs[first + n] for n in rng.choice(window, BATCH // RUN, replace=False)])
        plain, hard = views(images[np.sort(chosen)], rng)
        for group in optimizer.param_groups:
            group["lr"] = arguments.rate * rate_factor(share, 0.03)
        with torch.autocast("cpu", torch.bfloat16):
            rows = tower((torch.cat([plain, hard]) - 0.5) / 0.25)
        one, other = nn.functional.normalize(rows.float()).chunk(2)
        loss = contrastive_loss(one, other, torch.tensor(1 / TEMPERATURE))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        steps += 1
        if time.process_time() - logged > 10:
            logged = time.process_time()
            right = float(((one @ other.T).argmax(1) == torch.arange(len(one))).float().mean())
            print(
                f"{logged - start:.0f} s, step {steps}: loss {float(loss.detach()):.4f}, right {right:.3f}", flush=True
            )
    for module in tower.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    cpu = time.process_time()
    halved = {name: value.half().contiguous() for name, value in tower.state_dict().items()}
    save_file(halved, arguments.out, metadata={"widths": ",".join(map(str, WIDTHS)), "embed_dim": str(DIM)})
    tower.load_state_dict({name: value.float() for name, value in halved.items()})
    tower.eval()
    print(f"{steps} steps, {steps * BATCH:,} pairs, {cpu / 60:.1f} CPU minutes, {arguments.out.stat().st_size:,} bytes")
    print(measured(tower, images[np.sort(held)][rng.permutation(len(held))]))


if __name__ == "__main__":
    main()

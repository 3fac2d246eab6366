"""Compute to accuracy: the recipe of the box against open_clip's model, loss, optimizer and schedule.

    python ../2026-11-29-recipe/hold_out.py ../../../shared/data HELD --share 0.2
    OMP_NUM_THREADS=1 python race.py theirs ../../../shared/data HELD --size rn|vit|vit-small --rate 1e-3 --seconds 480
    OMP_NUM_THREADS=1 python race.py ours ../../../shared/data HELD --seconds 120 [--seed 1]

In an environment with open_clip and seesay; a line of JSON each. Both learn from the same pairs and are asked
zero-shot for Tiny ImageNet's 200 classes with the same names and templates. Seconds are CPU seconds of one thread,
which other work on the machine touches less than the clock. Ours are those of the whole command `seesay train`:
imports, reading and decoding, the vocabulary, export. Theirs are those of the training steps alone: images lie in
memory as pixels, captions as ids.

open_clip: `CLIP` and `ClipLoss`, AdamW (0.9, 0.98), epsilon 1e-6, decay 0.2 but for gains and biases, a warm-up of 5 %
and a cosine over the same budget, crops of 0.9 to 1, one of the captions, batches of 256, the scale held at 100.
Float32 or bfloat16 by autocast, eager or compiled, whichever took the fewest seconds for a step here; that choice is
not counted. B = pairs of a batch, S = side in pixels.
"""

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import seesay
from seesay.data.images import Preprocess
from seesay.data.pairs import open_pairs
from seesay.training.validation import ZeroShotCheck

SIDE, MARGIN, BATCH, CONTEXT = 64, 72, 256, 32
CHECK = "eval-tinyimagenet-val"
WAYS = ("float32", "bfloat16", "compiled", "compiled bfloat16")
SIZES = {
    "rn": ({"layers": (1, 1, 1, 1), "width": 32, "head_width": 64}, {"width": 256, "heads": 4, "layers": 2}),
    "vit": ({"layers": 6, "width": 192, "patch_size": 8}, {"width": 192, "heads": 3, "layers": 4}),
    "vit-small": ({"layers": 4, "width": 128, "patch_size": 8}, {"width": 128, "heads": 2, "layers": 3}),
}
MEAN, STD = (torch.tensor(each).view(1, 3, 1, 1) for each in (Preprocess(size=SIDE).mean, Preprocess(size=SIDE).std))


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels.float() / 255 - MEAN) / STD


class Opponent:
    """open_clip's side."""

    def __init__(self, data: Path, held: Path, given: argparse.Namespace):
        with suppress(ImportError):
            import tvshim  # noqa: F401 - where torchvision is of another build than torch
        import open_clip

        torch.manual_seed(given.seed)
        vision, text = SIZES[given.size]
        self.model = open_clip.model.CLIP(
            256, {**vision, "image_size": SIDE}, {**text, "context_length": CONTEXT, "vocab_size": 49408}
        )
        self.loss = open_clip.ClipLoss()
        self.rate, self.budget, self.way = given.rate, given.seconds, given.way
        self.random = np.random.default_rng(given.seed)
        tokenizer = open_clip.get_tokenizer("ViT-B-32")
        pairs, read = open_pairs(sorted(held.glob("train-*"))), Preprocess(size=MARGIN)
        self.pixels, self.ids = [], []
        for index in range(len(pairs)):
            with suppress(seesay.SeesayError):
                self.pixels.append(read.read(pairs[index].image))
                self.ids.append(tokenizer(list(pairs.captions(index)), context_length=CONTEXT))
        self.pixels = torch.stack(self.pixels)
        check = ZeroShotCheck(data / CHECK)
        # One size for both: the 64 px of the box.
        self.images, self.labels = check._read(given.box), torch.tensor(check._labels)
        prompts = [
            [template.replace("{}", str(name)) for template in given.box.templates]
            for name in check.labelled.class_names
        ]
        self.prompts = [tokenizer(texts, context_length=CONTEXT) for texts in prompts]
        self.groups = [
            {"params": [p for p in self.model.parameters() if p.ndim > 1], "weight_decay": 0.2},
            {"params": [p for p in self.model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(self.groups, lr=self.rate, betas=(0.9, 0.98), eps=1e-6)
        self.order = np.empty(0, int)

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Crops of 0.9 to 1 of the image, as `RandomResizedCrop` has them, and ids of one caption each."""
        if len(self.order) < BATCH:
            self.order = self.random.permutation(len(self.pixels))
        chosen, self.order = self.order[:BATCH], self.order[BATCH:]
        area, stretch = self.random.uniform(0.9, 1, BATCH), np.exp(self.random.uniform(-1, 1, BATCH) * math.log(4 / 3))
        width, height = (np.minimum(1, np.sqrt(area * factor)) for factor in (stretch, 1 / stretch))
        left, top = (self.random.uniform(-1, 1, BATCH) * (1 - side) for side in (width, height))
        zero = np.zeros(BATCH)
        theta = torch.tensor(np.stack([[width, zero, left], [zero, height, top]]), dtype=torch.float32).permute(2, 0, 1)
        grid = F.affine_grid(theta, [BATCH, 3, SIDE, SIDE], align_corners=False)
        crops = F.grid_sample(self.pixels[chosen].float(), grid, padding_mode="border", align_corners=False)
        captions = [self.ids[index][self.random.integers(len(self.ids[index]))] for index in chosen]
        return normalised(crops), torch.stack(captions)

    def step(self, model, autocast: bool) -> None:
        images, texts = self.batch()
        with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
            image, text, scale = model(images, texts)
            loss = self.loss(image, text, scale)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(100))

    def fastest(self, way: str | None):
        """The given way to compute a step, else that which takes the fewest seconds; weights are put back."""
        before = {key: value.clone() for key, value in self.model.state_dict().items()}
        took = {}
        for name in [way] if way else WAYS:
            model = torch.compile(self.model) if "compiled" in name else self.model
            with suppress(Exception):
                start = 0.0
                for step in range(6):
                    start = time.process_time() if step == 2 else start
                    self.step(model, "bfloat16" in name)
                took[name] = (time.process_time() - start) / 4
        print({name: round(value, 3) for name, value in took.items()}, file=sys.stderr, flush=True)
        self.model.load_state_dict(before)
        self.optimizer = torch.optim.AdamW(self.groups, lr=self.rate, betas=(0.9, 0.98), eps=1e-6)
        name = min(took, key=took.__getitem__)
        return (torch.compile(self.model) if "compiled" in name else self.model), name

    @torch.no_grad()
    def top1(self) -> float:
        self.model.eval()
        rows = []
        for prompts in self.prompts:
            rows.append(F.normalize(F.normalize(self.model.encode_text(prompts), dim=-1).mean(0), dim=-1))
        images = torch.cat([self.model.encode_image(normalised(part)) for part in self.images.split(BATCH)])
        self.model.train()
        return float(((images @ torch.stack(rows).T).argmax(1) == self.labels).float().mean())

    def race(self) -> dict:
        model, name = self.fastest(self.way)
        self.model.train()
        used, samples, curve, next_check = 0.0, 0, [], 0.25
        while used < self.budget:
            start, done = time.process_time(), used / self.budget
            rate = self.rate * (done / 0.05 if done < 0.05 else 0.5 * (1 + math.cos(math.pi * (done - 0.05) / 0.95)))
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.step(model, "bfloat16" in name)
            used, samples = used + time.process_time() - start, samples + BATCH
            if used / self.budget >= next_check:
                curve.append([round(used, 1), samples, round(self.top1(), 4)])
                next_check += 0.25
        return {"way": name, "samples": samples, "curve": curve, "top1": self.top1()}


def ours(data: Path, held: Path, given: argparse.Namespace) -> dict:
    """`seesay train` with the recipe of the box, its minutes those of the budget; CPU seconds of the whole command."""
    with tempfile.TemporaryDirectory() as place:
        out, minutes = Path(place) / "run", given.seconds / 60
        # The clock sets the length, and what is before and after the steps counts too: asked again until it fits.
        for _ in range(4):
            shutil.rmtree(out, ignore_errors=True)
            command = [
                sys.executable, "-m", "seesay", "train", *map(str, sorted(held.glob("train-*"))),
                "--recipe", str(given.recipe), "--minutes", f"{minutes:.4f}", "--workers", "0",
                "--seed", str(given.seed), "--out", str(out),
            ]  # fmt: skip
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, check=True, stdout=sys.stderr)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"{used:.1f} of {given.seconds:g} CPU seconds", file=sys.stderr, flush=True)
            if used <= given.seconds:
                break
            minutes -= (used - given.seconds + 1) / 60
        model = seesay.load(out / "model")
        check = ZeroShotCheck(data / CHECK, templates=given.box.templates)
        events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
        samples = max(event.get("pairs_seen", 0) for event in events)
        return {"used": round(used, 1), "samples": samples, "top1": check.measure(model)["top1"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=("ours", "theirs"))
    parser.add_argument("data", type=Path)
    parser.add_argument("held", type=Path)
    parser.add_argument("--size", choices=SIZES, default="rn")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--way", choices=WAYS, help="theirs' fastest, where it is known")
    parser.add_argument("--recipe", type=Path, default=Path(__file__).with_name("race.toml"))
    given = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    given.box = seesay.load("box")
    line = {"side": given.side, "seconds": given.seconds, "seed": given.seed}
    if given.side == "theirs":
        line |= {"size": given.size, "rate": given.rate} | Opponent(given.data, given.held, given).race()
    else:
        line |= ours(given.data, given.held, given)
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()

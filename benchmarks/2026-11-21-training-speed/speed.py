"""A training step of ours beside open_clip's: the same weights, pixels, captions and first loss, alternating rounds.

    OMP_NUM_THREADS=1 python speed.py CAPTIONS.tar ... --case small --rounds 7 --out result-small.json

Needs an environment with seesay's dependencies and open_clip. CAPTIONS are WebDataset tars with `.txt` members; those
that are short enough for 12 tokens on average (start and end token included) are drawn. Pixels are noise: their values
cost nothing.

open_clip's step is the one of its `training/train.py` (float32, no accumulation) with AdamW as its `main.py` makes it
and, as a second opponent, with torch's fused AdamW; the better of both is the one that counts. Ours is what
`seesay.training` does: loss, backward, the norm of the gradients for the guard, fused AdamW, hold the logit scale.
"""

import argparse
import gc
import importlib.metadata
import json
import math
import platform
import random
import statistics
import tarfile
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

# torchvision's wheel is built for CUDA: beside a CPU torch it can be imported once these two operators have a schema.
_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
for schema in ("nms(Tensor a, Tensor b, float c) -> Tensor", "qnms(Tensor a, Tensor b, float c) -> Tensor"):
    _OPERATORS.define(schema)

import open_clip  # noqa: E402
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg  # noqa: E402

from seesay.base.records import Tokens  # noqa: E402
from seesay.data.images import Preprocess  # noqa: E402
from seesay.formulas.contrastive import contrastive_loss  # noqa: E402
from seesay.model.build import byte_pairs  # noqa: E402
from seesay.model.bundle import Model  # noqa: E402
from seesay.nets.architecture import Architecture, TextTransformerConfig, VisionTransformerConfig  # noqa: E402
from seesay.nets.clip import build_clip  # noqa: E402
from seesay.training.optimizer import optimizer_of  # noqa: E402
from seesay.training.settings import OptimizerSettings  # noqa: E402

TOKENS = 12.0
RATE, DECAY = 5e-4, 0.2
CASES = {
    "base": {"side": 224, "patch": 32, "width": 768, "embed": 512, "text_width": 512, "text_layers": 12, "batch": 32},
    "small": {"side": 64, "patch": 16, "width": 384, "embed": 384, "text_width": 384, "text_layers": 6, "batch": 256},
}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("captions", type=Path, nargs="+")
    options.add_argument("--case", choices=CASES, required=True)
    options.add_argument("--patch-dropout", type=float, default=0.0)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--out", type=Path, required=True)
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    case = CASES[chosen.case]
    ids_BL, length_B = captions(chosen.captions, case["batch"])
    pixels = torch.randn(case["batch"], 3, case["side"], case["side"], generator=torch.Generator().manual_seed(0))
    sides = {
        "seesay": ours(case, pixels, Tokens(ids_BL=ids_BL, length_B=length_B), chosen.patch_dropout),
        "open_clip": theirs(case, pixels, ids_BL, chosen.patch_dropout, fused=False),
        "open_clip, fused AdamW": theirs(case, pixels, ids_BL, chosen.patch_dropout, fused=True),
    }
    first = {name: step() for name, step in sides.items()}
    print("first losses", first, flush=True)
    seconds = {name: {"wall": [], "cpu": []} for name in sides}
    for round_ in range(chosen.rounds):
        names = list(sides)[:: 1 if round_ % 2 else -1]
        for name in names:
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            sides[name]()
            seconds[name]["wall"].append(time.perf_counter() - wall)
            seconds[name]["cpu"].append(time.process_time() - cpu)
        print(
            round_,
            {name: [round(times[-1], 2) for times in both.values()] for name, both in seconds.items()},
            flush=True,
        )
    ratios = {
        name: {kind: ratio(seconds[name][kind], seconds["seesay"][kind]) for kind in ("wall", "cpu")}
        for name in sides
        if name != "seesay"
    }
    result = {
        "case": chosen.case,
        "patch_dropout": chosen.patch_dropout,
        **case,
        "threads": chosen.threads,
        "rounds": chosen.rounds,
        "tokens_per_caption": round(float(length_B.float().mean()), 3),
        "longest_caption": int(length_B.max()),
        "first_loss": first,
        "pairs_per_cpu_second": {
            name: round(case["batch"] / statistics.median(both["cpu"]), 2) for name, both in seconds.items()
        },
        "seesay_is_faster_by": ratios,
        "against_the_better": {kind: min(both[kind]["median"] for both in ratios.values()) for kind in ("wall", "cpu")},
        "processor": platform.processor() or platform.machine(),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "open_clip_torch")},
        "seconds": seconds,
    }
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "seconds"}, indent=1))


def ratio(theirs_seconds: list[float], our_seconds: list[float]) -> dict:
    """Round by round, so that other work on the machine meets both sides."""
    ratios = [theirs / ours for theirs, ours in zip(theirs_seconds, our_seconds, strict=True)]
    return {
        "median": round(statistics.median(ratios), 3),
        "least": round(min(ratios), 3),
        "most": round(max(ratios), 3),
    }


def captions(tars: list[Path], batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Real captions as open_clip's ids, padded with 0 to 77, and their lengths; long ones are left out for the mean."""
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    texts = []
    for path in tars:
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".txt"):
                    texts += tar.extractfile(member).read().decode().splitlines()
    ids_NL = tokenizer(sorted(set(texts)))
    length_N = ids_NL.argmax(1) + 1
    most = next(most for most in range(77, 3, -1) if float(length_N[length_N <= most].float().mean()) <= TOKENS)
    fitting = torch.nonzero(length_N <= most).flatten().tolist()
    draw = random.Random(0)
    while True:
        rows = draw.sample(fitting, batch)
        if abs(float(length_N[rows].float().mean()) - TOKENS) < 0.05:
            return ids_NL[rows], length_N[rows]


def architecture(case: dict) -> Architecture:
    return Architecture(
        embed_dim=case["embed"],
        image=VisionTransformerConfig(
            image_size=case["side"],
            patch=case["patch"],
            width=case["width"],
            layers=12,
            heads=case["width"] // 64,
            activation="gelu",
        ),
        text=TextTransformerConfig(
            context=77,
            vocab_size=49_408,
            width=case["text_width"],
            layers=case["text_layers"],
            heads=case["text_width"] // 64,
            activation="gelu",
        ),
    )


def ours(case: dict, pixels: torch.Tensor, tokens: Tokens, patch_dropout: float):
    clip = build_clip(architecture(case), seed=0).train()
    clip.image_tower.patch_dropout = patch_dropout
    optimizer = optimizer_of(clip, OptimizerSettings(learning_rate=RATE, weight_decay=DECAY))

    def step() -> float:
        embedded = clip(pixels, tokens)
        loss = contrastive_loss(embedded.image_BD, embedded.text_BD, embedded.scale)
        loss.backward()
        norm = torch.nn.utils.get_total_norm(p.grad for p in clip.parameters() if p.grad is not None)
        assert torch.isfinite(norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        clip.hold_logit_scale()
        return float(loss.detach())

    return step


def theirs(case: dict, pixels: torch.Tensor, ids_BL: torch.Tensor, patch_dropout: float, *, fused: bool):
    model = CLIP(
        case["embed"],
        CLIPVisionCfg(
            image_size=case["side"], patch_size=case["patch"], width=case["width"], patch_dropout=patch_dropout
        ),
        CLIPTextCfg(width=case["text_width"], heads=case["text_width"] // 64, layers=case["text_layers"]),
    )
    with tempfile.TemporaryDirectory() as folder:
        made = architecture(case)
        same = Model(
            build_clip(made, seed=0),
            made,
            byte_pairs(49_408, context=77),
            preprocess=Preprocess(size=case["side"]),
        )
        same.save(Path(folder) / "model", layout="open_clip")
        model.load_state_dict(load_file(Path(folder) / "model" / "open_clip_model.safetensors"))
    model.train()
    loss_of = open_clip.ClipLoss()
    is_gain = {
        name: p.ndim < 2 or "bn" in name or "ln" in name or "bias" in name or "logit_scale" in name
        for name, p in model.named_parameters()
    }
    groups = [
        {"params": [p for name, p in model.named_parameters() if is_gain[name]], "weight_decay": 0.0},
        {"params": [p for name, p in model.named_parameters() if not is_gain[name]], "weight_decay": DECAY},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), eps=1e-6, fused=fused or None)

    def step() -> float:
        optimizer.zero_grad()
        image_features, text_features, logit_scale = model(pixels, ids_BL)
        loss = loss_of(image_features, text_features, logit_scale)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        return float(loss.detach())

    return step


if __name__ == "__main__":
    main()

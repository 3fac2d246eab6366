"""One change to the recipe on a fifth of the pairs: 250,000 of them seen, judged by pairs that were held out.

    python hold_out.py ../shared/data HELD --share 0.2
    python trial.py HELD NAME [--optimizer muon] [--rate 5e-3] ...

A line of JSON at the end: top-1 of the held-out classes, R@10 of the held-out captions, seconds of a core. What is no
option of `seesay train` (averaged weights, erased squares, dropped words, runs of one source, several captions) is
made here. One thread.

B = pairs of a batch, S = side in pixels, D = embedding width.
"""

import argparse
import copy
import json
import math
import random
import re
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seesay.data import loader
from seesay.data.augment import Augment
from seesay.data.images import Preprocess
from seesay.data.loader import Crops, Draw, permutation
from seesay.data.pairs import open_pairs
from seesay.data.pixel_cache import PixelCache
from seesay.data.prompts import TEMPLATES
from seesay.data.tokenizer import CaptionTokenizer
from seesay.formulas.contrastive import affinity_loss, contrastive_loss, matches
from seesay.formulas.schedule import rate_factor, size_at
from seesay.model.bundle import Model
from seesay.nets.architecture import Architecture, BagOfWordsConfig, ConvNetConfig, TextTransformerConfig
from seesay.nets.clip import build_clip
from seesay.training.optimizer import optimizer_of
from seesay.training.settings import OptimizerSettings
from seesay.training.validation import ZeroShotCheck

SETS = ("tinyimagenet", "miniimagenet", "places")
WORD = re.compile(r"[a-z0-9]+")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("held", type=Path)
    parser.add_argument("name")
    for name, usual in {
        "samples": 250_000, "batch": 128, "seed": 0, "width": 64, "embed": 256, "layers": 0, "runs": 0, "captions": 1,
        "rate": 1e-3, "decay": 0.1, "average": 0.0, "scale": 0.5, "colour": 0.2, "erase": 0.0, "drop-words": 0.0,
        "mix": 0.0, "paste": 0.0, "teach": 1.0, "warm": 1.0,
    }.items():  # fmt: skip
        parser.add_argument(f"--{name}", type=type(usual), default=usual)
    parser.add_argument("--optimizer", default="adamw")
    parser.add_argument("--depths", default="2,2,2")
    parser.add_argument("--sizes", default="32:0.6,48:0.4")
    parser.add_argument("--teacher", type=Path, help="weights that an earlier trial kept with --keep")
    parser.add_argument("--keep", type=Path, help="where to keep the weights at the end")
    parser.add_argument("--same-words", action="store_true", help="captions of the same rare words are matches")
    return parser.parse_args()


class Trial:
    """The pairs, the model and what is drawn at random."""

    def __init__(self, given: argparse.Namespace):
        self.given = given
        self.pairs = open_pairs(sorted(given.held.glob("train-*")))
        self.captions = [self.pairs.captions(index) for index in range(len(self.pairs))]
        self.source_N = np.array([self.pairs.key(index).split("/")[0] for index in range(len(self.pairs))])
        every = [caption for captions in self.captions for caption in captions]
        self.tokenizer = CaptionTokenizer.train(every, vocab_size=6144, context=48)
        counts = Counter(word for caption in every for word in set(WORD.findall(caption.lower())))
        self.common = {word for word, count in counts.items() if count > len(every) / 100}
        if given.layers:
            text = TextTransformerConfig(
                context=48,
                vocab_size=self.tokenizer.vocab_size,
                width=given.embed,
                layers=given.layers,
                heads=given.embed // 64,
            )
        else:
            text = BagOfWordsConfig(context=48, vocab_size=self.tokenizer.vocab_size, width=given.embed)
        depths = tuple(int(depth) for depth in given.depths.split(","))
        image = ConvNetConfig(image_size=48, width=given.width, depths=depths)
        self.architecture = Architecture(embed_dim=given.embed, image=image, text=text)
        self.clip = build_clip(self.architecture, seed=given.seed)
        self.average = copy.deepcopy(self.clip) if given.average else None
        settings = OptimizerSettings(kind=given.optimizer, learning_rate=given.rate, weight_decay=given.decay)
        self.optimizer = optimizer_of(self.clip, settings)  # type: ignore[arg-type]
        augment = Augment(scale=given.scale, stretch=1.3, flip=0.5, colour=given.colour, coarse=0.2)
        cache = PixelCache(len(self.pairs), 72)
        self.crops = Crops(self.pairs, self.tokenizer, augment=augment, seed=given.seed, cache=cache)
        self.random = random.Random(given.seed)
        self.teacher = self.rows_of(given.teacher) if given.teacher else None
        self.numbers = np.random.default_rng(given.seed)
        self.order_of = (-1, np.zeros(0, dtype=np.int64))

    @torch.no_grad()
    def rows_of(self, weights: Path) -> tuple[Tensor, dict[str, int], Tensor, float]:
        """The teacher's rows of all images, where each caption stands, the rows of those, and its scale."""
        clip = build_clip(self.architecture, seed=0).eval()
        clip.load_state_dict(torch.load(weights, weights_only=True))
        model = Model(clip, self.architecture, self.tokenizer, preprocess=Preprocess(size=64), name="teacher")
        images = model.encode_images([self.pairs[index].image for index in range(len(self.pairs))])
        captions = sorted({caption for own in self.captions for caption in own})
        texts = model.encode_texts(captions)
        return (
            torch.as_tensor(images),
            {caption: row for row, caption in enumerate(captions)},
            torch.as_tensor(texts),
            float(clip.logit_scale.exp()),
        )

    def taught(self, image_BD: Tensor, text_BD: Tensor, scale: Tensor, sample_B: Tensor, captions: list[str]) -> Tensor:
        assert self.teacher is not None
        image_ND, place, text_MD, teacher_scale = self.teacher
        own_BB = teacher_scale * image_ND[sample_B] @ text_MD[[place[caption] for caption in captions]].T
        return affinity_loss(image_BD, text_BD, scale, teacher_NN=own_BB, temperature=self.given.warm)

    def draws(self, step: int, size: int) -> list[Draw]:
        rows = []
        for position in range(step * self.given.batch, (step + 1) * self.given.batch):
            epoch, place = divmod(position, len(self.pairs))
            if self.order_of[0] != epoch:
                self.order_of = (epoch, self.order(epoch))
            rows.append(Draw(int(self.order_of[1][place]), epoch, size))
        return rows

    def order(self, epoch: int) -> np.ndarray:
        """The pairs of an epoch; with `--runs` those of one source stand in runs of so many."""
        order_N, run = permutation(self.given.seed, epoch, len(self.pairs)), self.given.runs
        if not run:
            return order_N
        sources = [order_N[self.source_N[order_N] == source] for source in np.unique(self.source_N)]
        whole = [chunk for own in sources for chunk in own[: len(own) // run * run].reshape(-1, run)]
        rest = np.concatenate([own[len(own) // run * run :] for own in sources])
        shuffled = [whole[index] for index in np.random.default_rng([self.given.seed, epoch]).permutation(len(whole))]
        return np.concatenate([*shuffled, rest])

    def caption_id(self, caption: str) -> int:
        if not self.given.same_words:
            return loader.caption_id(caption)
        return loader.caption_id(" ".join(sorted(set(WORD.findall(caption.lower())) - self.common)) or caption)

    def words(self, captions: list[str]) -> list[str]:
        """The captions without some of the words of those that have more than three."""
        share = self.given.drop_words
        if not share:
            return captions
        split = [caption.split() for caption in captions]
        kept = [[word for word in words if self.random.random() >= share] or words for words in split]
        return [" ".join(few if len(words) > 3 else words) for few, words in zip(kept, split, strict=True)]

    def erase(self, pixels_B3SS: Tensor) -> None:
        side = pixels_B3SS.shape[-1]
        for image_3SS in pixels_B3SS:
            if self.numbers.random() < self.given.erase:
                hole = int(side * (0.25 + 0.25 * self.numbers.random()))
                top, left = self.numbers.integers(0, side - hole + 1, 2)
                image_3SS[:, top : top + hole, left : left + hole] = 0

    def mixed(self, pixels_B3SS: Tensor) -> tuple[Tensor, float]:
        """Each image with a rectangle of the next one (`--paste`, CutMix) or a share of all its pixels (`--mix`) and
        the share that is its own."""
        chance, next_B3SS, side = self.numbers.random(), pixels_B3SS.roll(-1, 0), pixels_B3SS.shape[-1]
        if chance < self.given.paste:
            share, hole = self.numbers.random(), torch.zeros(side, side, dtype=torch.bool)
            across = round(side * math.sqrt(1 - share))
            top, left = self.numbers.integers(0, side - across + 1, 2)
            hole[top : top + across, left : left + across] = True
            return torch.where(hole, next_B3SS, pixels_B3SS), 1 - (across / side) ** 2
        if chance < self.given.paste + self.given.mix:
            share = float(self.numbers.beta(0.4, 0.4))
            return share * pixels_B3SS + (1 - share) * next_B3SS, share
        return pixels_B3SS, 1.0

    def step(self, draws: list[Draw]) -> float:
        batch = self.crops.read(draws)
        pixels_B3SS, share = self.mixed(Preprocess(size=48).normalise(batch.pixels_B3SS))
        self.erase(pixels_B3SS)
        drawn = [
            [
                captions[self.numbers.integers(len(captions))]
                for captions in map(self.captions.__getitem__, batch.sample_B.tolist())
            ]
            for _ in range(self.given.captions)
        ]
        self.clip.train()
        with torch.autocast("cpu", torch.bfloat16):
            image_BD = F.normalize(self.clip.image_tower(pixels_B3SS).float(), dim=-1)
            rows = [
                F.normalize(self.clip.text_tower(self.tokenizer.tokens(self.words(one))).float(), dim=-1)
                for one in drawn
            ]
        ids = [torch.tensor([self.caption_id(caption) for caption in one]) for one in drawn]
        scale = self.clip.logit_scale.exp()
        losses = [
            self.loss(image_BD, text_BD, scale, matches(batch.image_id_B, id_B), share)
            for text_BD, id_B in zip(rows, ids, strict=True)
        ]
        loss = torch.stack(losses).mean()
        if self.teacher is not None:
            extra = [
                self.taught(image_BD, text_BD, scale, batch.sample_B, one)
                for text_BD, one in zip(rows, drawn, strict=True)
            ]
            loss = loss + self.given.teach * torch.stack(extra).mean()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.clip.hold_logit_scale()
        return float(loss.detach())

    @staticmethod
    def loss(image_BD: Tensor, text_BD: Tensor, scale: Tensor, is_match_BB: Tensor, share: float) -> Tensor:
        """The contrastive loss; of mixed images with so much of the next one's captions among the targets."""
        if share == 1.0:
            return contrastive_loss(image_BD, text_BD, scale, is_match_NN=is_match_BB)
        own_BB = is_match_BB.float()
        target_BB = share * own_BB + (1 - share) * own_BB.roll(-1, 0)
        logits_BB = scale * image_BD @ text_BD.T
        by_image = F.cross_entropy(logits_BB, target_BB / target_BB.sum(1, keepdim=True))
        return (by_image + F.cross_entropy(logits_BB.T, target_BB.T / target_BB.T.sum(1, keepdim=True))) / 2

    @torch.no_grad()
    def take_average(self, step: int) -> None:
        if self.average is None:
            return
        weight = 1 - min(self.given.average, (step + 1) / (step + 10))
        for own, new in zip(self.average.state_dict().values(), self.clip.state_dict().values(), strict=True):
            if own.is_floating_point():
                own.lerp_(new, weight)
            else:
                own.copy_(new)

    def judged(self, side: int) -> dict[str, float]:
        clip = self.average or self.clip
        preprocess, templates = Preprocess(size=side), TEMPLATES["short"]
        model = Model(
            clip.eval(), self.architecture, self.tokenizer, preprocess=preprocess, templates=templates, name="trial"
        )
        found = {name: 100 * ZeroShotCheck(self.given.held / f"held-{name}").measure(model)["top1"] for name in SETS}
        pairs = open_pairs(self.given.held / "held-flickr8k")
        images = torch.as_tensor(model.encode_images([pairs[index].image for index in range(len(pairs))]))
        texts = torch.as_tensor(model.encode_texts([pairs.captions(index)[0] for index in range(len(pairs))]))
        best = (texts @ images.T).topk(10, dim=1).indices
        found["r10"] = 100 * float((best == torch.arange(len(pairs))[:, None]).any(1).float().mean())
        return {name: round(value, 1) for name, value in found.items()}


def main() -> None:
    given = arguments()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    trial = Trial(given)
    sizes = [(int(size), float(share)) for size, share in (part.split(":") for part in given.sizes.split(","))]
    steps, smooth, began = given.samples // given.batch, math.nan, time.process_time()
    for step in range(steps):
        done = (step + 0.5) / steps
        for group in trial.optimizer.param_groups:
            group["lr"] = given.rate * rate_factor(done, 0.03)
        loss = trial.step(trial.draws(step, size_at(done, sizes)))
        trial.take_average(step)
        smooth = loss if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss
    seconds = time.process_time() - began
    if given.keep:
        torch.save(trial.clip.state_dict(), given.keep)
    result = {"name": given.name, "seconds": round(seconds), "loss": round(smooth, 3)}
    print(json.dumps({**result, "48": trial.judged(48), "64": trial.judged(64)}), flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Our zero-shot classifiers and scores beside open_clip's and CLIP_benchmark's, for the same weights and pictures.

    python compare.py DATA --out result.json

DATA/eval-* are labelled tars. Needs an environment with seesay's dependencies, open_clip and CLIP_benchmark 1.6
(`pip install clip_benchmark --no-deps`). Random ViT-B/32 weights, moved from their start, with CLIP's own vocabulary go
through open_clip's file; the trained model of the package goes to CLIP_benchmark through its own functions.
"""

import argparse
import importlib.metadata
import io
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from PIL import Image

# torchvision's wheel is built for CUDA: beside a CPU torch it can be imported once these two operators have a schema.
_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
for schema in ("nms(Tensor a, Tensor b, float c) -> Tensor", "qnms(Tensor a, Tensor b, float c) -> Tensor"):
    _OPERATORS.define(schema)

import open_clip  # noqa: E402
from clip_benchmark.metrics import zeroshot_classification, zeroshot_retrieval  # noqa: E402

import seesay  # noqa: E402
from seesay.data.evalsets import open_evalset  # noqa: E402
from seesay.data.prompts import TEMPLATES  # noqa: E402
from seesay.evaluation.evaluate import evaluate  # noqa: E402
from seesay.model.bundle import Model  # noqa: E402

LIMIT = 1e-5
BLOCK = 64
CLASSIFIERS = (("eval-dtd10", "imagenet80"), ("eval-shift-photo32", "imagenet7"))
PICTURES = 120


def accuracy(output: torch.Tensor, target: torch.Tensor, topk: tuple[int, ...] = (1,)) -> list[float]:
    """CLIP_benchmark's own, line by line, but for its `float` of an array of one, which NumPy 2.4 refuses."""
    pred = output.topk(max(topk), 1, True, True)[1].t()
    correct = pred.eq(target.view(1, -1).expand_as(pred))
    n = len(target)
    return [float(correct[:k].reshape(-1).float().sum(0).item()) / n for k in topk]


zeroshot_classification.accuracy = accuracy


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("data", type=Path)
    options.add_argument("--out", type=Path, required=True)
    given = options.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    packages = ("torch", "open_clip_torch", "clip_benchmark", "scikit-learn", "numpy")
    result = {
        "versions": {package: importlib.metadata.version(package) for package in packages},
        "limit": LIMIT,
        "box": beside_clip_benchmark(given.data),
        "random ViT-B/32": beside_open_clip(given.data),
    }
    given.out.write_text(json.dumps(result, indent=1) + "\n")


@torch.inference_mode()
def beside_open_clip(data: Path) -> dict:
    """One file of weights, two programs: classifier rows, picture embeddings, predictions."""
    vocabulary = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    model = seesay.build("ViT-B/32", tokenizer=vocabulary)
    move(model.clip)
    told = {}
    with tempfile.TemporaryDirectory() as place:
        model.save(Path(place) / "model", "open_clip")
        peer, preprocess = open_clip.create_model_from_pretrained(
            f"local-dir:{place}/model", precision="fp32", device="cpu"
        )
    peer.eval()
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    for name, templates in CLASSIFIERS:
        names = list(open_evalset(data / name).class_names)
        ours = seesay.zero_shot_classifier(model, names, templates).weights
        theirs = open_clip.build_zero_shot_classifier(peer, tokenizer, names, list(TEMPLATES[templates])).T
        braces = [template.replace("{}", "{c}") for template in TEMPLATES[templates]]
        benchmark = zeroshot_classification.zero_shot_classifier(peer, tokenizer, names, braces, "cpu", amp=False).T
        told[f"{len(names)} classes of {name} x {templates}"] = {
            "largest difference from open_clip": (ours - theirs).abs().max().item(),
            "largest difference from CLIP_benchmark": (ours - benchmark).abs().max().item(),
        }
    found = open_evalset(data / "eval-shift-photo32")
    files = [found.image(index) for index in range(PICTURES)]
    pixels = torch.stack([preprocess(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])
    their_ND = torch.cat([F.normalize(peer.encode_image(block), dim=-1) for block in pixels.split(BLOCK)])
    our_ND = model.encode_images(files)
    names = list(found.class_names)
    our_guess = (our_ND @ seesay.zero_shot_classifier(model, names, "imagenet7").weights.T).argmax(1)
    theirs = open_clip.build_zero_shot_classifier(peer, tokenizer, names, list(TEMPLATES["imagenet7"]))
    told["pictures of eval-shift-photo32"] = {
        "n": len(files),
        "largest difference of embeddings": (our_ND - their_ND).abs().max().item(),
        "predictions that differ": int((our_guess != (their_ND @ theirs).argmax(1)).sum()),
        "classes ever predicted": len(set(our_guess.tolist())),
    }
    print(json.dumps(told, indent=1), flush=True)
    return told


def move(clip: torch.nn.Module) -> None:
    """A step away from the start in every tensor, so that no norm is the identity."""
    generator = torch.Generator().manual_seed(1)
    for tensor in clip.state_dict().values():
        noise = torch.randn(tensor.shape, generator=generator)
        tensor += 0.02 * noise if tensor.ndim < 2 else 0.1 * tensor.std() * noise


class AsPeer:
    """Our model as CLIP_benchmark's functions call one: texts are handed over as places in a list."""

    def __init__(self, model: Model):
        self.model, self.texts = model, []

    def tokenizer(self, texts: list[str]) -> torch.Tensor:
        first = len(self.texts)
        self.texts += texts
        return torch.arange(first, len(self.texts))

    def encode_text(self, places: torch.Tensor) -> torch.Tensor:
        return self.model.encode_texts([self.texts[place] for place in places.tolist()])

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model.encode_pixels(pixels)


class Blocks:
    """Pixels of a set with what belongs to them, in blocks, as a loader gives them."""

    def __init__(self, model: Model, found, answers: list):
        read = found.image if hasattr(found, "image") else lambda index: found[index].image
        self.dataset = SimpleNamespace(classes=getattr(found, "class_names", ()))
        self._pixels = torch.stack([model.preprocess.read(read(index)) for index in range(len(found))])
        self._answers = answers

    def __iter__(self) -> Iterator[tuple[torch.Tensor, object]]:
        for first in range(0, len(self._answers), BLOCK):
            answers = self._answers[first : first + BLOCK]
            yield self._pixels[first : first + BLOCK], torch.tensor(answers) if isinstance(answers[0], int) else answers

    def __len__(self) -> int:
        return -(-len(self._answers) // BLOCK)


def beside_clip_benchmark(data: Path) -> dict:
    """The scores that both give to the trained model, on every labelled and captioned set."""
    model, told = seesay.load("box"), {}
    for folder in sorted(data.glob("eval-*")):
        started, found = time.perf_counter(), open_evalset(folder)
        ours, peer = evaluate(model, folder, cache=False).entries[0].result.to_json(), AsPeer(model)
        if ours["task"] == "zero-shot":
            templates = [template.replace("{}", "{c}") for template in model.templates]
            loader = Blocks(model, found, [found.label(index) for index in range(len(found))])
            theirs = zeroshot_classification.evaluate(
                peer, loader, peer.tokenizer, list(found.class_names), templates, "cpu", amp=False
            )
            pairs = {"acc1": ours["top1"], "acc5": ours["top5"], "mean_per_class_recall": ours["mean_per_class"]}
        else:
            loader = Blocks(model, found, [list(found.captions(index)) for index in range(len(found))])
            theirs = zeroshot_retrieval.evaluate(
                peer, loader, peer.tokenizer, "cpu", amp=False, recall_k_list=[1, 5, 10]
            )
            pairs = {
                f"{theirs_name}_retrieval_recall@{k}": ours[ours_name][f"r{k}"]
                for theirs_name, ours_name in (("image", "text_to_image"), ("text", "image_to_text"))
                for k in (1, 5, 10)
            }
        told[folder.name] = {
            name: {"ours": value, "theirs": theirs[name], "difference": abs(value - theirs[name])}
            for name, value in pairs.items()
        }
        print(folder.name, json.dumps(told[folder.name]), f"{time.perf_counter() - started:.0f} s", flush=True)
    return told


if __name__ == "__main__":
    main()

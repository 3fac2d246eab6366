"""Text embeddings and the 1,000-class x 80-template classifier of ViT-B/32: ours beside open_clip's and transformers'.

    OMP_NUM_THREADS=1 python speed.py CAPTIONS.tar ... --out result.json [--only captions|classifier]

Needs an environment with seesay's dependencies, open_clip and transformers. All three hold the same random weights,
read from one folder per layout, and open_clip's vocabulary; one thread, float32. From strings to unit rows, tokenising
included. CAPTIONS are WebDataset tars with `.txt` members, drawn so that they have 12 tokens on average with start and
end token: longer ones are drawn less often, by a factor per token, and none is left out for its length. Every round
takes captions that no side has seen.

open_clip's classifier is timed on some classes with all templates, one class after the other as its
`build_zero_shot_classifier` does in its best setting, and so is cheap to extrapolate: every prompt costs it 77 tokens.
Ours is timed over the whole job, since what it shares depends on the whole.
"""

import argparse
import json
import platform
import statistics
import tarfile
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F

# torchvision's wheel is built for CUDA: beside a CPU torch it can be imported once these two operators have a schema.
_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
for schema in ("nms(Tensor a, Tensor b, float c) -> Tensor", "qnms(Tensor a, Tensor b, float c) -> Tensor"):
    _OPERATORS.define(schema)

import open_clip  # noqa: E402
import transformers  # noqa: E402
from open_clip import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES, build_zero_shot_classifier  # noqa: E402

import seesay  # noqa: E402
from seesay.data.prompts import TEMPLATES  # noqa: E402

TOKENS = 12.0
MERGES = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("captions", type=Path, nargs="+")
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--count", type=int, default=512)
    options.add_argument("--classes", type=int, default=1000)
    options.add_argument("--their-classes", type=int, default=4)
    options.add_argument("--only", choices=("captions", "classifier"))
    chosen = options.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        sides = models(Path(folder))
    result = {
        "threads": 1,
        "processor": platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in ("torch", "open_clip_torch", "transformers")},
    }
    with torch.inference_mode():
        if chosen.only != "classifier":
            result["captions"] = of_captions(sides, texts_of(chosen.captions), rounds=chosen.rounds, count=chosen.count)
        if chosen.only != "captions":
            result["classifier"] = of_classifier(sides, classes=chosen.classes, theirs=chosen.their_classes)
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")


def models(folder: Path) -> dict:
    ours = seesay.build("ViT-B/32", seed=0, tokenizer=MERGES)
    ours.save(folder / "open_clip", layout="open_clip")
    ours.save(folder / "hf", layout="hf")
    peer = open_clip.create_model(f"local-dir:{folder / 'open_clip'}").eval()
    return {
        "seesay": ours,
        "open_clip": (peer, open_clip.get_tokenizer("ViT-B-32")),
        "transformers": (
            transformers.CLIPTextModelWithProjection.from_pretrained(folder / "hf").eval(),
            transformers.AutoTokenizer.from_pretrained(folder / "hf"),
        ),
    }


def texts_of(tars: list[Path]) -> list[str]:
    texts = set()
    for path in tars:
        with tarfile.open(path) as tar:
            texts |= {
                line
                for member in tar
                if member.name.endswith(".txt")
                for line in tar.extractfile(member).read().decode().splitlines()
            }
    texts = sorted(texts)
    lengths = (open_clip.get_tokenizer("ViT-B-32")(texts).argmax(1) + 1).double()
    # The factor per token that brings the mean down to 12 (or up to it).
    least, most = -1.0, 1.0
    for _ in range(50):
        middle = (least + most) / 2
        weights = (-middle * lengths).softmax(0)
        least, most = (middle, most) if float((weights * lengths).sum()) > TOKENS else (least, middle)
    drawn = torch.multinomial(weights, min(8192, len(texts) // 4), generator=torch.Generator().manual_seed(0))
    mean, longest = float(lengths[drawn].mean()), int(lengths[drawn].max())
    print(f"{len(drawn)} captions, {mean:.2f} tokens on average, at most {longest}")
    return [texts[index] for index in drawn.tolist()]


def of_captions(sides: dict, texts: list[str], *, rounds: int, count: int) -> dict:
    def ours(block):
        return sides["seesay"].encode_texts(block)

    def by_open_clip(block):
        model, tokenizer = sides["open_clip"]
        return torch.cat(
            [model.encode_text(tokenizer(block[at : at + 64]), normalize=True) for at in range(0, len(block), 64)]
        )

    def by_transformers(block):
        model, tokenizer = sides["transformers"]
        parts = [
            model(**tokenizer(block[at : at + 64], padding="longest", return_tensors="pt")).text_embeds
            for at in range(0, len(block), 64)
        ]
        return F.normalize(torch.cat(parts), dim=-1)

    ways = {"seesay": ours, "open_clip": by_open_clip, "transformers": by_transformers}
    for way in ways.values():
        way(texts[:64])
    seconds = {name: {"wall": [], "cpu": []} for name in ways}
    worst = {"open_clip": 0.0, "transformers": 0.0}
    for round_ in range(rounds):
        block = texts[64 + round_ * count : 64 + (round_ + 1) * count]
        rows = {}
        for name in list(ways)[:: 1 if round_ % 2 else -1]:
            wall, cpu = time.perf_counter(), time.process_time()
            rows[name] = ways[name](block)
            seconds[name]["wall"].append(time.perf_counter() - wall)
            seconds[name]["cpu"].append(time.process_time() - cpu)
        for name in worst:
            worst[name] = max(worst[name], float((rows[name] - rows["seesay"]).abs().max()))
        print(
            round_,
            {name: [round(times[-1], 2) for times in both.values()] for name, both in seconds.items()},
            flush=True,
        )
    told = {
        "captions_per_round": count,
        "rounds": rounds,
        "captions_per_cpu_second": {
            name: round(count / statistics.median(both["cpu"]), 1) for name, both in seconds.items()
        },
        "largest_difference": worst,
        "seesay_is_faster_by": {
            name: {kind: ratio(seconds[name][kind], seconds["seesay"][kind]) for kind in ("wall", "cpu")}
            for name in ("open_clip", "transformers")
        },
        "seconds": seconds,
    }
    print(json.dumps({key: value for key, value in told.items() if key != "seconds"}, indent=1), flush=True)
    return told


def of_classifier(sides: dict, *, classes: int, theirs: int) -> dict:
    names = IMAGENET_CLASSNAMES[:classes]
    peer, tokenizer = sides["open_clip"]
    each = len(OPENAI_IMAGENET_TEMPLATES)
    assert {template("{}") for template in OPENAI_IMAGENET_TEMPLATES} == set(TEMPLATES["imagenet80"])

    def by_open_clip(some):
        return build_zero_shot_classifier(
            peer, tokenizer, some, OPENAI_IMAGENET_TEMPLATES, num_classes_per_batch=1, use_tqdm=False
        )

    rates = {"wall": [], "cpu": []}

    def time_theirs(some):
        wall, cpu = time.perf_counter(), time.process_time()
        weights = by_open_clip(some)
        rates["cpu"].append((time.process_time() - cpu) / len(some) / each)
        rates["wall"].append((time.perf_counter() - wall) / len(some) / each)
        print(
            len(rates["cpu"]),
            "open_clip",
            {kind: round(1 / values[-1], 2) for kind, values in rates.items()},
            flush=True,
        )
        return weights

    step = len(names) // (2 * theirs)
    seen = names[::step][: 2 * theirs]
    weights = [time_theirs([name]) for name in seen[:theirs]]
    wall, cpu = time.perf_counter(), time.process_time()
    classifier = sides["seesay"].classifier(names, "imagenet80")
    ours = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    print("seesay", {kind: round(len(names) * each / value, 2) for kind, value in ours.items()}, flush=True)
    weights += [time_theirs([name]) for name in seen[theirs:]]
    rows = classifier.weights[torch.arange(0, step * 2 * theirs, step)[: 2 * theirs]]
    told = {
        "classes": len(names),
        "templates": each,
        "prompts_per_second": {
            "seesay": {kind: round(len(names) * each / value, 2) for kind, value in ours.items()},
            "open_clip": {kind: round(1 / statistics.median(values), 2) for kind, values in rates.items()},
        },
        "seesay_seconds": ours,
        "open_clip_classes_timed": len(seen),
        "seesay_is_faster_by": {
            kind: round(statistics.median(values) * len(names) * each / ours[kind], 2) for kind, values in rates.items()
        },
        "largest_difference": float((torch.cat(weights, dim=1).T - rows).abs().max()),
    }
    print(json.dumps(told, indent=1), flush=True)
    return told


def ratio(their_seconds: list[float], our_seconds: list[float]) -> dict:
    """Round by round, so that other work on the machine meets both sides."""
    ratios = [theirs / ours for theirs, ours in zip(their_seconds, our_seconds, strict=True)]
    return {
        "median": round(statistics.median(ratios), 3),
        "least": round(min(ratios), 3),
        "most": round(max(ratios), 3),
    }


if __name__ == "__main__":
    main()

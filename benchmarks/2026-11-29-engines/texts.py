"""Texts per CPU second of ViT-B/32's text tower: open_clip in float32, and this package's engines, in turn.

    PYTHONPATH=../shared/peers PEERS/bin/python texts.py OUT.json ROUNDS TEMPLATES NAMES [CAPTIONS.tar...]

PEERS is as for peers.py. One thread, or as many as THREADS in the environment says, then by the clock; open_clip's
random weights on both sides, from strings to unit rows. CAPTIONS are WebDataset tars; those of 8 to 16 tokens are drawn
so that the mean is 12. open_clip works on 77 positions whatever a text has, so that it gets 16 captions a round and the
engines 256; without CAPTIONS this is left out. Then a classifier of NAMES of ImageNet's 1,000 classes, from all over
them, in the first TEMPLATES of the 80 (0: none), once for each engine, and 32 of its prompts by open_clip before and
after each.
"""

import json
import os
import statistics
import sys
import tarfile
import time
from pathlib import Path

import peers  # beside this file; it imports open_clip
import torch
from open_clip import IMAGENET_CLASSNAMES, get_tokenizer

from seesay.data.prompts import TEMPLATES

ENGINES = ("torch", "torch-bf16", "torch-int8")
THEIRS, OURS, MOST_PROMPTS = 16, 256, 32
THREADS = int(os.environ.get("THREADS", "1"))
CLOCK = time.process_time if THREADS == 1 else time.perf_counter


def captions_of(tars: list[str], tokenizer) -> list[str]:
    texts = set()
    for path in tars:
        with tarfile.open(path) as tar:
            texts |= {tar.extractfile(one).read().decode().splitlines()[0] for one in tar if one.name.endswith(".txt")}
    by_length = {length: [] for length in (8, 10, 12, 14, 16)}
    for text in sorted(texts):
        length = int(tokenizer([text]).argmax(1)) + 1
        if length in by_length:
            by_length[length].append(text)
    most = min(map(len, by_length.values()))
    return [text for row in zip(*(found[:most] for found in by_length.values()), strict=True) for text in row]


def timed(work) -> tuple[float, torch.Tensor]:
    start = CLOCK()
    rows = work()
    return CLOCK() - start, rows


@torch.inference_mode()
def of_captions(peer, models: dict, texts: list[str], rounds: int) -> list[dict]:
    tokenizer = get_tokenizer("ViT-B-32")

    def theirs(some):
        return peer.encode_text(tokenizer(some), normalize=True)

    ways = {"open_clip": theirs, **{name: model.encode_texts for name, model in models.items()}}
    rows = {name: way(texts[:THEIRS]) for name, way in ways.items()}
    seconds = {name: [] for name in ways}
    for turn in range(rounds):
        block = [texts[(turn * OURS + number) % len(texts)] for number in range(OURS)]
        for name in list(ways) if turn % 2 else list(ways)[::-1]:
            some = block[:THEIRS] if name == "open_clip" else block
            seconds[name].append(timed(lambda way=ways[name], some=some: way(some))[0] / len(some))
    found = []
    for name, times in seconds.items():
        ratios = [one / other for one, other in zip(seconds["open_clip"], times, strict=True)]
        row = {"way": name, "texts_per_second": round(1 / statistics.median(times), 1)}
        row |= {"ratio": round(statistics.median(ratios), 2)}
        row |= {"least_most": [round(min(ratios), 2), round(max(ratios), 2)]}
        row["smallest_cosine"] = float((rows[name].float() * rows["open_clip"]).sum(1).min())
        found.append(row)
        print(row, flush=True)
    return found


@torch.inference_mode()
def of_classifier(peer, models: dict, templates: int, count: int) -> list[dict]:
    tokenizer, chosen = get_tokenizer("ViT-B-32"), TEMPLATES["imagenet80"][:templates]
    names = IMAGENET_CLASSNAMES[:: len(IMAGENET_CLASSNAMES) // count][:count]
    prompts = [chosen[0].format(name) for name in names[:MOST_PROMPTS]]
    count, found = len(names) * templates, []
    for name in models:
        before = timed(lambda: peer.encode_text(tokenizer(prompts)))[0]
        own = timed(lambda name=name: models[name].classifier(names, chosen))[0]
        after = timed(lambda: peer.encode_text(tokenizer(prompts)))[0]
        theirs = (before + after) / 2 / len(prompts)
        row = {"way": f"classifier, {len(names)} classes, {templates} templates, {name}"}
        row |= {"prompts_per_second": round(count / own, 1)}
        row |= {"ratio": round(theirs * count / own, 1), "open_clip_prompts_per_second": round(1 / theirs, 1)}
        found.append(row)
        print(row, flush=True)
    return found


def main() -> None:
    out, rounds, templates, names, *tars = sys.argv[1:]
    torch.set_num_threads(THREADS)
    peer, own = peers.opened()
    models = {engine: own.with_engine(engine) for engine in ENGINES}
    found = []
    if tars:
        found += of_captions(peer, models, captions_of(tars, get_tokenizer("ViT-B-32")), int(rounds))
    Path(out).write_text(json.dumps(found, indent=1) + "\n")
    if int(templates):
        found += of_classifier(peer, models, int(templates), int(names))
        Path(out).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

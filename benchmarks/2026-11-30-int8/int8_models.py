"""Answers and rows of any model in int8 beside its float32 on six labelled sets, and its speed, way after way.

    PEERS/bin/python int8_models.py --model box --photos PHOTOS --out OUT.json [--data ../../../shared/data] [WAY...]

PEERS is as for ../2026-11-29-engines/int8_peers.py. A WAY is torch-int8, onnx-int8 or openvino-int8 (default: all that
can do the model); the last two are what `seesay export --int8` writes with its ranges of PHOTOS, folders of photos that
are in none of the sets, and nothing else is chosen here. A way that the export refuses is a line that says so. Texts
stay in torch's float32. Lost and gained are right answers, p that of a sign test on them, changed are answers of any
kind; speed is CPU milliseconds for an image in batches of 8 on one thread, the median of nine rounds in turn with
float32.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import seesay
from seesay.base.errors import SeesayError, UsageError
from seesay.data.evalsets import open_evalset
from seesay.formulas.statistics import sign_test
from seesay.model.encode import read_pixels
from seesay.model.engines import OPENERS
from seesay.tasks.export_files import graph_paths
from seesay.tasks.words import choose_words

SETS = ("tinyimagenet-val", "food20", "dtd10", "caltech101", "cifar10", "rsicd30")
WAYS = ("torch-int8", "onnx-int8", "openvino-int8")
AT_ONCE, ROUNDS, CALLS, FOR_SPEED = 64, 9, 8, 8
Encode = Callable[[torch.Tensor], torch.Tensor]


def encoder(model: seesay.Model, way: str, photos: str, folder: Path) -> tuple[Encode, dict]:
    """What makes rows of pixels (N, 3, S, S), and what there is to say about it."""
    if way == "torch-int8":
        return model.with_engine(way).encode_pixels, {}
    to = way.removesuffix("-int8")
    start = time.process_time()
    made = seesay.export(model, folder / to, to=to, int8=True, calibrate=photos)
    image = folder / to / graph_paths(to, int8=True)["image"]
    run, size = OPENERS[to](image), sum(each.stat().st_size for each in image.parent.glob("image.*"))
    noted = {"image_megabytes": round(size / 1e6, 1), "calibrated_on": made.facts["check"]["calibrated_on"]}
    noted |= {"export_cpu_seconds": round(time.process_time() - start)}
    noted |= {"smallest_cosine_texts": round(made.rows[-1]["smallest_cosine_texts"], 5)}
    return lambda pixels: torch.from_numpy(run(model.preprocess.normalise(pixels).numpy())[0]), noted


def speeds(ways: dict[str, Encode], pixels: torch.Tensor) -> dict[str, dict]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            ways[name](pixels)
            start = time.process_time()
            for _ in range(CALLS):
                ways[name](pixels)
            seconds[name].append((time.process_time() - start) / CALLS / len(pixels))
    found = {}
    for name, times in seconds.items():
        ratios = [one / other for one, other in zip(seconds["torch"], times, strict=True)]
        found[name] = {"cpu_ms_per_image": round(1000 * statistics.median(times), 3)}
        found[name] |= {"times_torch": round(statistics.median(ratios), 2)}
        found[name] |= {"least_most": [round(min(ratios), 2), round(max(ratios), 2)]}
    return found


def rows_of(encode: Encode, pixels: torch.Tensor) -> torch.Tensor:
    return torch.cat([encode(part) for part in pixels.split(AT_ONCE)])


def compared(way: str, encode: Encode, sets: list) -> list[dict]:
    found, total, cosines = [], np.zeros(4, dtype=int), []
    for source, pixels, labels, classifier, right in sets:
        rows, was = rows_of(encode, pixels), classifier.scores(right).argmax(1).numpy()
        now, cosine = classifier.scores(rows).argmax(1).numpy(), (rows * right).sum(1)
        lost, gained = int(((was == labels) & (now != labels)).sum()), int(((was != labels) & (now == labels)).sum())
        row = {
            "way": way,
            "set": source,
            "n": len(labels),
            "top1_float32": round(100 * float((was == labels).mean()), 2),
        }
        row |= {"points": round(100 * (gained - lost) / len(labels), 2), "lost": lost, "gained": gained}
        row |= {"p": round(sign_test(lost, gained), 2), "changed": int((was != now).sum())}
        row |= {"smallest_cosine": round(float(cosine.min()), 5), "mean_cosine": round(float(cosine.mean()), 6)}
        total += [len(labels), lost, gained, row["changed"]]
        cosines.append(cosine)
        found.append(row)
        print(row, flush=True)
    n, lost, gained, changed = total.tolist()
    cosine = torch.cat(cosines)
    row = {"way": way, "set": "all", "n": n, "lost": lost, "gained": gained, "changed": changed}
    row |= {"smallest_cosine": round(float(cosine.min()), 5), "mean_cosine": round(float(cosine.mean()), 6)}
    print(row, flush=True)
    return [*found, row]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="box")
    parser.add_argument("--photos", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--data", default="../../../shared/data")
    parser.add_argument("ways", nargs="*")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model, sets, found = seesay.load(given.model), [], []
    for source in SETS:
        opened = open_evalset(Path(given.data, f"eval-{source}"))
        words = choose_words(model, [opened], opened.class_names)
        read, index, _ = read_pixels(model, opened.image, len(opened))
        labels, pixels = np.array([opened.label(n) for n in index]), torch.stack(read)
        classifier = model.classifier(words.names, words.templates)
        sets.append((source, pixels, labels, classifier, rows_of(model.encode_pixels, pixels)))
    ways: dict[str, Encode] = {"torch": model.encode_pixels}
    with tempfile.TemporaryDirectory() as folder:
        for way in given.ways or WAYS:
            try:
                ways[way], noted = encoder(model, way, given.photos, Path(folder))
            except (SeesayError, UsageError) as error:
                found.append({"way": way, "refused": str(error)})
                print(found[-1], flush=True)
                continue
            if noted:
                found.append({"way": way, **noted})
                print(found[-1], flush=True)
            found += compared(way, ways[way], sets)
        for way, speed in speeds(ways, sets[0][1][:FOR_SPEED]).items():
            found.append({"way": way, **speed})
            print(found[-1], flush=True)
    Path(given.out).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

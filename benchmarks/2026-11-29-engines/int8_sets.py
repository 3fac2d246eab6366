"""Answers and rows of a trained model in int8 beside float32, on six labelled sets.

    PEERS/bin/python int8_sets.py ../../../shared/data PHOTOS OUT.json MODEL WAY...

PEERS is as for int8_peers.py. A WAY is an engine of torch, or "onnx int8" or "openvino int8": what `export --int8`
makes with the ranges of 128 images of the folder PHOTOS, with as many layers in float32 as it begins with. Texts stay
in torch's float32. Lost and gained are right answers, p that of a sign test on them; changed are answers of any kind.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import seesay
from seesay.data.evalsets import open_evalset
from seesay.formulas.statistics import sign_test
from seesay.model.encode import read_pixels
from seesay.model.engines import OPENERS
from seesay.model.onnx_images import image_graph
from seesay.tasks.classify import find_photos
from seesay.tasks.export_files import drawn_from_folders, write_graphs
from seesay.tasks.export_int8 import IN_INT8, float_layers, for_ranges, without_outliers
from seesay.tasks.words import choose_words

SETS = ("tinyimagenet-val", "food20", "dtd10", "caltech101", "cifar10", "rsicd30")
TEXTS = ["a cat", "a red car", "an airport seen from above"]
Encode = Callable[[torch.Tensor], torch.Tensor]


def encoder(model: seesay.Model, way: str, photos: str) -> Encode:
    if not way.endswith(" int8"):
        return model.with_engine(way).encode_pixels
    drawn = torch.stack([model.preprocess.read(path) for path in drawn_from_folders(find_photos([photos]), 128)])
    return in_runtime(way.removesuffix(" int8"), model, drawn)


def in_runtime(engine: str, model: seesay.Model, drawn: torch.Tensor) -> Encode:
    """The image tower in a runtime's int8, with ranges of these pixels."""
    graph = image_graph(model.name, without_outliers(model, drawn, TEXTS).clip)
    given = list(model.preprocess.normalise(for_ranges(drawn, graph)).numpy()[:, None])
    made = IN_INT8[engine](graph, given, first=float_layers(graph)[0])
    with tempfile.TemporaryDirectory() as folder:
        write_graphs(Path(folder), {"image": made}, engine, int8=True)
        run = OPENERS[engine](next(path for path in Path(folder).iterdir() if path.suffix != ".bin"))
    return lambda pixels: torch.from_numpy(run(model.preprocess.normalise(pixels).numpy())[0])


def rows_of(encode: Encode, pixels: torch.Tensor) -> torch.Tensor:
    return torch.cat([encode(part) for part in pixels.split(64)])


def main() -> None:
    data, photos, out, name, *ways = sys.argv[1:]
    torch.set_num_threads(1)
    model, found, asked = seesay.load(name), [], []
    for source in SETS:
        opened = open_evalset(Path(data, f"eval-{source}"))
        words = choose_words(model, [opened], opened.class_names)
        pixels, index, _ = read_pixels(model, opened.image, len(opened))
        labels, classifier = np.array([opened.label(n) for n in index]), model.classifier(words.names, words.templates)
        rows = rows_of(model.encode_pixels, torch.stack(pixels))
        asked.append((source, torch.stack(pixels), labels, classifier, rows, classifier.scores(rows).argmax(1).numpy()))
    for way in ways:
        encode, total = encoder(model, way, photos), np.zeros(4, dtype=int)
        for source, pixels, labels, classifier, right, was in asked:
            rows = rows_of(encode, pixels)
            now = classifier.scores(rows).argmax(1).numpy()
            lost, gained = (
                int(((was == labels) & (now != labels)).sum()),
                int(((was != labels) & (now == labels)).sum()),
            )
            row = {"model": Path(name).name, "way": way, "set": source, "n": len(labels)}
            row |= {"top1_float32": round(100 * float((was == labels).mean()), 2)}
            row |= {"points": round(100 * (gained - lost) / len(labels), 2), "lost": lost, "gained": gained}
            row |= {"p": round(sign_test(lost, gained), 2), "changed": int((was != now).sum())}
            row |= {"smallest_cosine": round(float((rows * right).sum(1).min()), 5)}
            total += [len(labels), lost, gained, row["changed"]]
            found.append(row)
            print(row, flush=True)
        print(way, "all: n, lost, gained, changed", total.tolist(), flush=True)
        Path(out).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

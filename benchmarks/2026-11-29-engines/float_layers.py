"""Top-1 of a model's image graph in int8 by how many of its first layers stay in float32, and by the calibrator.

    python float_layers.py PHOTOS OUT.json MODEL SET...

PHOTOS calibrate (128 of all folders); each SET is a folder of labelled images. Texts stay in torch's float32, so that
all lost answers are the images'. p is that of a sign test on the answers that changed.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime.quantization as quantization
import torch

import seesay
from seesay.data.evalsets import open_evalset
from seesay.formulas.statistics import sign_test
from seesay.model.encode import read_pixels
from seesay.model.engines import open_onnx
from seesay.model.onnx_images import image_graph
from seesay.tasks.classify import find_photos
from seesay.tasks.export_files import drawn_from_folders
from seesay.tasks.export_int8 import in_int8
from seesay.tasks.words import choose_words

FIRST, METHODS = (1, 4, 8), ("MinMax", "Percentile", "Entropy")
static = quantization.quantize_static


def graphs(model: seesay.Model, calibrated: np.ndarray):
    """By what they are: the graph in float32 and those in int8."""
    whole = image_graph(model.name, model.clip)
    yield "float32", whole
    for method in METHODS:
        chosen = getattr(quantization.CalibrationMethod, method)
        quantization.quantize_static = lambda *given, chosen=chosen, **named: static(
            *given, calibrate_method=chosen, **named
        )
        for first in FIRST if method == "MinMax" else FIRST[:2]:
            yield f"{method}, first {first} in float32", in_int8(whole, list(calibrated[:, None]), first=first)


def main() -> None:
    photos, out, name, *sets = sys.argv[1:]
    torch.set_num_threads(1)
    model, found = seesay.load(name), []
    paths = drawn_from_folders(find_photos([photos]), 128)
    drawn = torch.stack([model.preprocess.read(path) for path in paths])
    asked = []
    for source in sets:
        opened = open_evalset(source)
        words = choose_words(model, [opened], opened.class_names)
        pixels, index, _ = read_pixels(model, opened.image, len(opened))
        labels = np.array([opened.label(number) for number in index])
        asked.append((Path(source).name, torch.stack(pixels), labels, model.classifier(words.names, words.templates)))
    right: dict[str, tuple[np.ndarray, torch.Tensor]] = {}
    for kind, graph in graphs(model, model.preprocess.normalise(drawn).numpy()):
        run = open_onnx(graph)
        for source, pixels, labels, classifier in asked:
            parts = [run(model.preprocess.normalise(part).numpy())[0] for part in pixels.split(64)]
            rows = torch.from_numpy(np.concatenate(parts))
            is_right = classifier.scores(rows).argmax(1).numpy() == labels
            was_right, exact = right.setdefault(source, (is_right, rows))
            lost, gained = int((was_right & ~is_right).sum()), int((is_right & ~was_right).sum())
            row = {"model": name, "set": source, "n": len(labels), "graph": kind, "bytes": len(graph)}
            row |= {"top1": round(100 * float(is_right.mean()), 2), "lost": lost, "gained": gained}
            row |= {"p": round(sign_test(lost, gained), 3), "smallest_cosine": float((rows * exact).sum(1).min())}
            found.append(row)
            print(row, flush=True)
        Path(out).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

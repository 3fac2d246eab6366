"""Encoding in bfloat16 and float16 against float32: rows, answers and speed.

    python benchmarks/2026-11-28-precision/run.py answers SETS > benchmarks/2026-11-28-precision/answers.md
    python benchmarks/2026-11-28-precision/run.py speed > benchmarks/2026-11-28-precision/speed.md

SETS is a folder of labelled sets, each with its own class names in the model's templates. Speed is of
`Model.encode_pixels` alone, on pixels that are decoded already, in rounds in which every precision and batch size has
its turn; medians.
"""

import statistics
import sys
import time
from pathlib import Path

import torch

import seesay
from seesay.data.evalsets import open_evalset
from seesay.data.labelled import LabelledSet
from seesay.model.build import build
from seesay.model.bundle import Model
from seesay.model.encode import PRECISIONS, encode_image_set

ROUNDS = 5
BATCH_SIZES = (1, 16, 64)
# Sizes of towers, with random weights: speed does not depend on them.
SIZES = ("ViT-B/32", "RN50")


def answers(folder: Path) -> None:
    """A table: for each labelled set, how far rows and answers in a precision are from those in float32."""
    exact = seesay.load("box")
    print(
        "| set | images | classes | precision | least cosine | mean cosine | same answer | top-1 | top-1 in float32 |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for path in sorted(folder.glob("eval-*")):
        evalset = open_evalset(path)
        if not isinstance(evalset, LabelledSet):
            continue
        rows, right, label = {}, {}, {}
        for precision in PRECISIONS:
            model = exact.with_precision(precision)
            rows[precision], kept, _ = encode_image_set(model, evalset.image, len(evalset))
            classifier = model.classifier(evalset.class_names)
            label[precision] = classifier.scores(rows[precision]).argmax(1)
            truth_N = torch.tensor([evalset.label(index) for index in kept])
            right[precision] = (label[precision] == truth_N).float().mean()
        for precision in list(PRECISIONS)[1:]:
            cosine_N = (rows[precision] * rows["float32"]).sum(1)
            same = (label[precision] == label["float32"]).float().mean()
            cells = (
                f"| {path.name} | {len(cosine_N)} | {len(evalset.class_names)} | {precision} | {cosine_N.min():.6f} "
                f"| {cosine_N.mean():.6f} | {100 * same:.2f} % | {100 * right[precision]:.2f} "
                f"| {100 * right['float32']:.2f} |"
            )
            print(cells, flush=True)


def speed() -> None:
    """A table: images per second in each precision and batch size, as ratios to float32 at 64."""
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print("| model | images at once | float32, images/s | float32 | bfloat16 | float16 |")
    print("|---|---|---|---|---|---|")
    for name in ("box", *SIZES):
        measure(name, seesay.load("box") if name == "box" else build(name))


def measure(name: str, exact: Model) -> None:
    """The rows of one model."""
    models = {precision: exact.with_precision(precision) for precision in PRECISIONS}
    side = exact.preprocess.size
    pixels = torch.randint(0, 256, (max(BATCH_SIZES), 3, side, side), dtype=torch.uint8)
    seconds: dict[tuple[str, int], list[float]] = {}
    for number in range(ROUNDS + 1):
        for size in BATCH_SIZES:
            for precision, model in models.items():
                start = time.perf_counter()
                model.encode_pixels(pixels[:size])
                if number:  # the first round warms up
                    seconds.setdefault((precision, size), []).append((time.perf_counter() - start) / size)
    middle = {key: statistics.median(values) for key, values in seconds.items()}
    for size in BATCH_SIZES:
        ratios = (middle["float32", 64] / middle[precision, size] for precision in PRECISIONS)
        rate = 1 / middle["float32", size]
        print(f"| {name} | {size} | {rate:,.0f} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "answers":
        answers(Path(sys.argv[2]))
    else:
        speed()

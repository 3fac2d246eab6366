"""CPU time of image files in ONNX Runtime's int8, as `export --int8` makes them and as it did before, in turn.

    PEERS/bin/python before_after.py PHOTOS BEFORE/export_int8.py MODEL...

PEERS is as for int8_models.py. BEFORE/export_int8.py is that file of the commit before (`git show
COMMIT:src/seesay/tasks/export_int8.py`), which kept four first layers in float32. One thread, milliseconds for an
image in batches of 8 and 1, medians of 11 rounds in turn, and the ratio before / now with the least and the most.
"""

import importlib.util
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

import seesay
from seesay.model.engines import open_onnx
from seesay.model.onnx_images import image_graph
from seesay.tasks import export_int8
from seesay.tasks.classify import find_photos
from seesay.tasks.export_files import drawn_from_folders

TEXTS, ROUNDS, CALLS = ["a cat", "a red car", "an airport seen from above"], 11, 80


def opened(way, model, pixels, first: int):
    graph = image_graph(model.name, way.without_outliers(model, pixels, TEXTS).clip)
    given = list(model.preprocess.normalise(way.for_ranges(pixels, graph)).numpy()[:, None])
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "image.onnx").write_bytes(way.in_int8(graph, given, first=first))
        return open_onnx(Path(folder, "image.onnx"))


def main() -> None:
    photos, path, *names = sys.argv[1:]
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("before", path)
    assert spec and spec.loader
    before = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(before)
    for name in names:
        model = seesay.load(name)
        drawn = drawn_from_folders(find_photos([photos]), 128)
        pixels = torch.stack([model.preprocess.read(path) for path in drawn])
        graph = image_graph(model.name, model.clip)
        ways = {"before": opened(before, model, pixels, before.float_layers("onnx", graph)[0])}
        ways["now"] = opened(export_int8, model, pixels, export_int8.float_layers(graph)[0])
        for batch in (8, 1):
            given = model.preprocess.normalise(pixels[:batch]).numpy()
            times: dict[str, list[float]] = {way: [] for way in ways}
            for turn in range(ROUNDS):
                for way in list(ways)[:: 1 if turn % 2 else -1]:
                    ways[way](given)
                    start = time.process_time()
                    for _ in range(CALLS // batch):
                        ways[way](given)
                    times[way].append(1000 * (time.process_time() - start) / (CALLS // batch * batch))
            ratios = [one / other for one, other in zip(times["before"], times["now"], strict=True)]
            row = {"model": Path(name).name, "batch": batch}
            row |= {way: round(statistics.median(each), 3) for way, each in times.items()}
            print(
                row
                | {"ratio": round(statistics.median(ratios), 2), "of": [round(min(ratios), 2), round(max(ratios), 2)]}
            )


if __name__ == "__main__":
    main()

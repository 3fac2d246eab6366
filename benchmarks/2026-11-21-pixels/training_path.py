"""Pairs per second from tar shards to normalised batches: seesay's loader beside open_clip's WebDataset pipeline.

    python training_path.py PHOTOS CAPTIONS.tar --out training_path.json

PHOTOS is scikit-image's `data` folder, CAPTIONS.tar any shard with captions. Both read the same shards in the same run,
taking turns; a turn begins after the first batch (open_clip fills its shuffle buffer for it) and ends when normalised
float32 pictures and padded ids of all other batches are in the main process. Needs open_clip,
webdataset 0.2.86 (the last that open_clip 3.3 takes), pandas and scikit-learn.
"""

import argparse
import gzip
import io
import itertools
import json
import os
import resource
import statistics
import tarfile
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import torch

# torchvision's wheel is built for CUDA: beside a CPU torch it can be imported once these two operators have a schema.
_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
for schema in ("nms(Tensor a, Tensor b, float c) -> Tensor", "qnms(Tensor a, Tensor b, float c) -> Tensor"):
    _OPERATORS.define(schema)

import open_clip  # noqa: E402
from open_clip.transform import PreprocessCfg, image_transform_v2  # noqa: E402
from open_clip_train.data import get_wds_dataset  # noqa: E402
from pictures import BIG, SMALL, jpegs  # noqa: E402

from seesay.data.augment import Augment  # noqa: E402
from seesay.data.images import Preprocess  # noqa: E402
from seesay.data.loader import Batches, Crops  # noqa: E402
from seesay.data.shards import open_shards  # noqa: E402
from seesay.data.tokenizer import CaptionTokenizer  # noqa: E402

SIDE, SHARDS = 224, 4
# Name, size of the pictures, how many differ, pairs in the shards, pairs in a batch, pairs timed in a turn, goal.
CASES = [("500x375", SMALL, 200, 4096, 64, 1280, 2.0), ("3000x2000", BIG, 20, 512, 16, 96, 4.0)]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("photos", type=Path)
    options.add_argument("captions", type=Path)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--out", type=Path, required=True)
    chosen = options.parse_args()
    warnings.filterwarnings("ignore")
    captions = read_captions(chosen.captions)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for name, size, distinct, count, batch, timed, goal in CASES:
            pictures = jpegs(chosen.photos, size, distinct)
            shards = write_shards(Path(place) / name, pictures, captions, count=count)
            for workers in (0, 1, 2):
                sides = {
                    "seesay": lambda shards=shards, batch=batch, workers=workers: ours(shards, batch, workers),
                    "open_clip": lambda shards=shards, batch=batch, workers=workers, count=count: theirs(
                        shards, batch, workers, count
                    ),
                }
                row = {"pictures": name, "bytes": round(statistics.mean(map(len, pictures))), "workers": workers}
                rows.append(row | compare(sides, timed // batch, batch=batch, rounds=chosen.rounds) | {"goal": goal})
                print(json.dumps(rows[-1]), flush=True)
    machine = {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "load": os.getloadavg()}
    held = all(row["ratio"] >= row["goal"] for row in rows)
    chosen.out.write_text(json.dumps({"machine": machine, "held": held, "cases": rows}, indent=2) + "\n")


def read_captions(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        texts = [tar.extractfile(member).read().decode() for member in tar if member.name.endswith(".txt")]
    return [line for text in texts for line in text.splitlines() if line.strip()]


def write_shards(folder: Path, pictures: list[bytes], captions: list[str], *, count: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number}.tar" for number in range(SHARDS)]
    for number, path in enumerate(paths):
        with tarfile.open(path, "w") as tar:
            for index in range(number * count // SHARDS, (number + 1) * count // SHARDS):
                beside = captions[index % len(captions)].encode()
                for suffix, data in (("jpg", pictures[index % len(pictures)]), ("txt", beside)):
                    member = tarfile.TarInfo(f"{index:06d}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return paths


def ours(shards: list[Path], batch: int, workers: int) -> Iterator:
    tokenizer = clip_tokenizer()
    # The same share of the picture as open_clip's RandomResizedCrop, but of the largest square, as in the paper.
    crops = Crops(open_shards(shards, name="shards"), tokenizer, augment=Augment(scale=0.9), seed=0, cache=None)
    preprocess = Preprocess(size=SIDE)
    for made in Batches(crops, batch_size=batch).starting_at(0, size_at=lambda step: SIDE, workers=workers):
        yield preprocess.normalise(made.pixels_B3SS), made.tokens


def clip_tokenizer() -> CaptionTokenizer:
    with tempfile.NamedTemporaryFile("wb", suffix=".txt") as file:
        file.write(gzip.decompress((Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz").read_bytes()))
        file.flush()
        return CaptionTokenizer.from_file(file.name)


def theirs(shards: list[Path], batch: int, workers: int, count: int) -> Iterator:
    args = SimpleNamespace(
        train_data=f"{shards[0].parent}/{{0..{SHARDS - 1}}}.tar",
        train_num_samples=count,
        train_data_upsampling_factors=None,
        dataset_resampled=False,
        seed=0,
        batch_size=batch,
        workers=workers,
        world_size=1,
    )
    transform = image_transform_v2(PreprocessCfg(size=SIDE), is_train=True)
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    return iter(get_wds_dataset(args, transform, is_train=True, tokenizer=tokenizer).dataloader)


def compare(sides: dict, batches: int, *, batch: int, rounds: int) -> dict:
    wall, cpu = {name: [] for name in sides}, {name: [] for name in sides}
    for turn in range(rounds):
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            seconds, spent = one_turn(sides[name](), batches)
            wall[name].append(batches * batch / seconds)
            cpu[name].append(spent)
    ratios = [mine / other for mine, other in zip(wall["seesay"], wall["open_clip"], strict=True)]
    return {
        "pairs_per_second": {name: round(statistics.median(rates), 1) for name, rates in wall.items()},
        "cpu_seconds_of_main_process": {name: round(statistics.median(spent), 3) for name, spent in cpu.items()},
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in sorted(ratios)],
    }


def one_turn(stream: Iterator, batches: int) -> tuple[float, float]:
    """Wall seconds, and CPU seconds of this process, for that many batches after the first."""
    next(stream)
    started, spent = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    for pixels, _ in itertools.islice(stream, batches):
        assert pixels.shape[1:] == (3, SIDE, SIDE) and pixels.dtype == torch.float32
    now = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter() - started, now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime


if __name__ == "__main__":
    main()

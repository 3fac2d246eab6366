"""An unchanged folder of 100,000 photos refreshed and searched: `seesay search` beside `rclip`, in turn.

    OMP_NUM_THREADS=1 python beside_rclip.py RCLIP_ENVIRONMENT FOLDER

RCLIP_ENVIRONMENT is a virtual environment with rclip from PyPI. Its model lies on a hub that is not asked: a text tower
of the same shape (12 layers of 512, 77 tokens, 49,408 words, float32) with random weights and made-up merges stands in
for it, and an empty file for its image tower, which words do not need. FOLDER gets 100,000 hard links to four photos,
and both indexes, rows of random vectors written by each program's own code. CPU seconds of a command and its largest
memory; the refresh of rclip is the command less the one with `--no-indexing`, that of seesay, with its search, is the
command less a process that embeds the words.
"""

import gzip
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import first_answer
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import seesay
from seesay.index.photo_index import PhotoIndex

COUNT, ROUNDS = 100_000, 3
WORDS = "two dogs in snow"
LAYERS, WIDTH, HEADS, TOKENS, VOCABULARY = 12, 512, 8, 77, 49_408
MODEL = "ViT-B-32-256-datacomp_s34b_b86k"
FILL = """
import os, random, sys
from rclip import db
table, folder = db.DB(sys.argv[1]), sys.argv[2]
for entry in os.scandir(folder):
    status = entry.stat()
    table.upsert_image(dict(filepath=entry.path, modified_at=status.st_mtime, size=status.st_size,
                            vector=random.randbytes(2048), hash=random.randbytes(16).hex()), commit=False)
table.close()
"""


def main(environment: Path, folder: Path) -> None:
    photos, home, index = folder / "photos", folder / "rclip", folder / "index"
    if not photos.exists():
        make_photos(photos)
    if not (home / "db.sqlite3").exists():
        make_model(home)
        words = [environment / "bin/python", "-c", FILL, home / "db.sqlite3", photos]
        subprocess.run(words, check=True)
    opened = PhotoIndex.create(index, photos, seesay.load("box"), name="box")
    if not len(opened):
        first_answer.fill(opened, photos)
    rclip = [environment / "bin/rclip", WORDS]
    commands = {
        "rclip": rclip,
        "rclip --no-indexing": [*rclip, "--no-indexing"],
        "seesay search": [sys.executable, "-m", "seesay", "search", photos, WORDS, "--index", index],
        "seesay, words alone": [sys.executable, "-c", first_answer.LOAD],
    }
    spent = {name: [] for name in commands}
    for turn in range(ROUNDS):
        for name in list(commands)[:: 1 if turn % 2 else -1]:
            spent[name].append(run(commands[name], photos, home))
            print(name, spent[name][-1], flush=True)
    rows = {
        name: {
            kind: round(statistics.median(row[at] for row in rows), 2)
            for at, kind in enumerate(("CPU s", "MB", "wall s"))
        }
        for name, rows in spent.items()
    }
    refresh = {
        "rclip": rows["rclip"]["CPU s"] - rows["rclip --no-indexing"]["CPU s"],
        "seesay, with the search": rows["seesay search"]["CPU s"] - rows["seesay, words alone"]["CPU s"],
    }
    result = {
        "files": COUNT,
        "rounds": ROUNDS,
        "commands": rows,
        "refresh CPU s": {name: round(value, 2) for name, value in refresh.items()},
        "load": os.getloadavg()[0],
    }
    print(json.dumps(result))
    (Path(__file__).parent / "beside_rclip.json").write_text(json.dumps(result, indent=1) + "\n")


# What a process took before it became the command counts as the command's memory, so a small one starts it and says.
START = """
import resource, subprocess, sys
quiet = subprocess.DEVNULL
done = subprocess.run(sys.argv[1:], stdout=quiet, stderr=quiet)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
sys.exit(done.returncode)
"""


def run(words: list, photos: Path, home: Path) -> tuple[float, float, float]:
    """CPU seconds, largest memory in MB, and seconds by the clock."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", START, *words],
        cwd=photos,
        env={**os.environ, "RCLIP_DATADIR": str(home), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{words} ended with {done.returncode}")
    cpu, memory = map(float, done.stdout.split())
    return cpu, memory, time.perf_counter() - begun


def make_photos(photos: Path) -> None:
    photos.mkdir(parents=True)
    noise = np.random.default_rng(0)
    for number in range(COUNT):
        place = photos / f"{number:06}.jpg"
        if number < 4:
            Image.fromarray(noise.integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(place)
        else:
            os.link(photos / f"{number % 4:06}.jpg", place)


def make_model(home: Path) -> None:
    (home / MODEL).mkdir(parents=True)
    (home / "tokenizer").mkdir()
    (home / MODEL / "visual.onnx").touch()
    onnx.save(text_tower(), home / MODEL / "textual.onnx")
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pairs = itertools.islice(itertools.product(itertools.product(letters, repeat=3), repeat=2), VOCABULARY)
    lines = ["#version", *("".join(left) + " " + "".join(right) for left, right in pairs)]
    (home / "tokenizer" / "bpe_simple_vocab_16e6.txt.gz").write_bytes(gzip.compress("\n".join(lines).encode()))


def text_tower() -> onnx.ModelProto:
    """(N, 77) int64 `input` to (N, 512) `output`: a transformer of CLIP's shape with random weights."""
    nodes, weights, noise = [], [], np.random.default_rng(0)

    def weight(*shape: int) -> str:
        weights.append(
            numpy_helper.from_array(noise.standard_normal(shape, np.float32) * np.float32(0.02), f"w{len(weights)}")
        )
        return weights[-1].name

    def constant(values) -> str:
        weights.append(numpy_helper.from_array(np.array(values), f"w{len(weights)}"))
        return weights[-1].name

    def node(kind: str, *inputs: str, count: int = 1, **attributes):
        outputs = [f"{kind}{len(nodes)}_{number}" for number in range(count)]
        nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs[0] if count == 1 else outputs

    def normalised(x: str) -> str:
        return node("LayerNormalization", x, weight(WIDTH), weight(WIDTH))

    x = node("Add", node("Gather", weight(VOCABULARY, WIDTH), "input"), weight(TOKENS, WIDTH))
    mask = constant(np.triu(np.full((TOKENS, TOKENS), -1e9, np.float32), 1))
    split, join = constant([0, TOKENS, 3 * HEADS, WIDTH // HEADS]), constant([0, TOKENS, WIDTH])
    for _ in range(LAYERS):
        joined = node("Reshape", node("MatMul", normalised(x), weight(WIDTH, 3 * WIDTH)), split)
        q, k, v = node("Split", node("Transpose", joined, perm=[0, 2, 1, 3]), count=3, axis=1, num_outputs=3)
        scores = node("Mul", node("MatMul", q, node("Transpose", k, perm=[0, 1, 3, 2])), constant(np.float32(0.125)))
        mixed = node("MatMul", node("Softmax", node("Add", scores, mask)), v)
        mixed = node("Reshape", node("Transpose", mixed, perm=[0, 2, 1, 3]), join)
        x = node("Add", x, node("MatMul", mixed, weight(WIDTH, WIDTH)))
        wide = node("Gelu", node("MatMul", normalised(x), weight(WIDTH, 4 * WIDTH)))
        x = node("Add", x, node("MatMul", wide, weight(4 * WIDTH, WIDTH)))
    last = node("Gather", normalised(x), constant(TOKENS - 1), axis=1)
    nodes.append(helper.make_node("MatMul", [last, weight(WIDTH, WIDTH)], ["output"]))
    graph = helper.make_graph(
        nodes,
        "text",
        [helper.make_tensor_value_info("input", TensorProto.INT64, ["N", TOKENS])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", WIDTH])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())

"""From a new process to the first image embedding of a ViT-B/32 in a folder: seesay, transformers and open_clip.

    python measure.py PHOTO.jpg --out result.json > log.txt

Each side loads the same weights from its own layout, written by seesay with random numbers. Every measurement is a new
process, the sides take turns, and the clock runs from before the interpreter starts until the embedding is there. Files
are in the page cache: one turn of each goes before, and is not counted. Needs open_clip, transformers and timm.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SEESAY = """
import seesay
embedding = seesay.load(folder).encode_images([photo])[0]
"""
TRANSFORMERS = """
# Without torchvision, as where it is not installed: with it, the import alone takes a second longer.
import sys
sys.modules["torchvision"] = None
import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPModel
model = CLIPModel.from_pretrained(folder).eval()
processor = CLIPImageProcessor.from_pretrained(folder)
with torch.inference_mode():
    found = model.get_image_features(**processor(images=Image.open(photo), return_tensors="pt"))
    embedding = getattr(found, "pooler_output", found)[0]
embedding = embedding / embedding.norm()
"""
OPEN_CLIP = """
import torch
# torchvision's wheel is built for CUDA: beside a CPU torch it can be imported once these operators have a schema.
operators = torch.library.Library("torchvision", "FRAGMENT")
operators.define("nms(Tensor a, Tensor b, float c) -> Tensor")
operators.define("qnms(Tensor a, Tensor b, float c) -> Tensor")
import open_clip
from PIL import Image
model, transform = open_clip.create_model_from_pretrained("local-dir:" + folder)
with torch.inference_mode():
    embedding = model.encode_image(transform(Image.open(photo))[None], normalize=True)[0]
"""
SIDES = {"seesay": (SEESAY, "hf"), "transformers": (TRANSFORMERS, "hf"), "open_clip": (OPEN_CLIP, "open_clip")}
END = """
import json, time, resource
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"end": time.time(), "cpu": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1000,
                  "first": [float(value) for value in embedding[:4]]}))
"""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("photo", type=Path)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--out", type=Path, required=True)
    chosen = options.parse_args()
    runs: dict[str, list[dict]] = {name: [] for name in SIDES}
    with tempfile.TemporaryDirectory() as place:
        write = "import seesay; m = seesay.build('ViT-B/32'); [m.save(f'{PLACE}/{x}', x) for x in ('hf', 'open_clip')]"
        subprocess.run([sys.executable, "-c", write.replace("{PLACE}", place)], check=True)
        size = (Path(place) / "hf" / "model.safetensors").stat().st_size / 1e6
        for turn in range(chosen.rounds + 1):
            for name in list(SIDES)[:: 1 if turn % 2 else -1]:
                told = one(name, f"{place}/{SIDES[name][1]}", chosen.photo.resolve())
                print(turn, name, json.dumps(told), flush=True)
                if turn:
                    runs[name].append(told)
    result = {
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "weights_mb": round(size, 1),
        "rounds": chosen.rounds,
        "median": {name: {key: median(rows, key) for key in ("wall", "cpu", "peak_mb")} for name, rows in runs.items()},
        "range_of_wall": {
            name: [round(f(row["wall"] for row in rows), 2) for f in (min, max)] for name, rows in runs.items()
        },
        "ratio_of_cpu": {name: ratio(rows, runs["seesay"], "cpu") for name, rows in runs.items()},
        "ratio_of_wall": {name: ratio(rows, runs["seesay"], "wall") for name, rows in runs.items()},
    }
    chosen.out.write_text(json.dumps(result, indent=2) + "\n")


def one(name: str, folder: str, photo: Path) -> dict:
    code = f"folder, photo = {folder!r}, {str(photo)!r}\n" + SIDES[name][0] + END
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    started = time.time()
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    told = json.loads(done.stdout.splitlines()[-1])
    return {"wall": told.pop("end") - started, **told}


def median(rows: list[dict], key: str) -> float:
    return round(statistics.median(row[key] for row in rows), 3)


def ratio(rows: list[dict], ours: list[dict], key: str) -> float:
    """The median over turns of theirs divided by ours."""
    return round(statistics.median(theirs[key] / mine[key] for theirs, mine in zip(rows, ours, strict=True)), 2)


if __name__ == "__main__":
    main()

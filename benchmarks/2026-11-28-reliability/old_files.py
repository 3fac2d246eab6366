"""F-X5: what an earlier seesay left on disk opens, and what a newer one would leave is refused with nothing written.

    python old_files.py REPOSITORY COMMIT --json old-files.json

The code of COMMIT trains a small run, and begins another that is stopped; the code on PYTHONPATH must load the model to
the same embeddings and go on with the run to the same weights as the old code. Then the format number of a checkpoint
and of a model folder is set to 2, as a later seesay might write it: the command must end with exit code 4 and leave
every byte of the folder as it is.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

TRAIN = ["--steps", "60", "--set", "model=conv-tiny", "--set", "batch_size=8", "--set", "data.workers=0"]
TRAIN += ["--set", "checkpoint.every_minutes=0.001", "--set", "towers.precision=float32", "--set", "device=cpu"]
CHILD = "import sys; from seesay.cli.main import main; sys.exit(main(sys.argv[1:]))"
DIGEST = """
import hashlib, sys, seesay
model = seesay.load(sys.argv[1])
data = model.encode_texts(["a photo of a cat", "image number 3"]).numpy().tobytes()
print(hashlib.sha256(data).hexdigest())
"""


def python(source: Path, *words: str, wait: bool = True):
    """Run a command line with the code in `source`: (exit code, output), or the process."""
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if not wait:
        return process
    output = process.communicate(timeout=600)[0]
    return process.returncode, output.strip()


def stopped(source: Path, words: list[str], is_time) -> int:
    """Start a command, and send SIGTERM once `is_time()`; its exit code."""
    process = python(source, CHILD, *words, wait=False)
    while not is_time() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=600)
    return process.returncode


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder with the SHA-256 of its bytes, but the lock, which names who holds the folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def write_pairs(folder: Path) -> None:
    folder.mkdir()
    for index in range(400):
        pixels = np.random.default_rng(index).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:03}.png")
        (folder / f"{index:03}.txt").write_text(f"image number {index}\n")


def own_sha256(state: dict) -> str:
    rest = {key: value for key, value in state.items() if key != "own_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def opened(old: Path, new: Path, work: Path) -> dict:
    """What the old code left, read by the new."""
    pairs, results = work / "pairs", {}
    write_pairs(pairs)
    words = ["train", str(pairs), "--out", str(work / "whole"), *TRAIN]
    results["old run"] = python(old, CHILD, *words)[0]
    digests = [python(source, DIGEST, str(work / "whole" / "model")) for source in (old, new)]
    results["model folder: same embeddings"] = digests[0] == digests[1] and digests[0][0] == 0

    halves = [work / "half-old", work / "half-new"]
    words = ["train", str(pairs), "--out", str(halves[0]), *TRAIN]
    checkpoints = halves[0] / "checkpoints"
    results["old run stopped"] = stopped(old, words, lambda: checkpoints.is_dir() and any(checkpoints.iterdir()))
    shutil.copytree(halves[0], halves[1])
    shutil.copytree(halves[0], work / "newer")
    sources = zip((old, new), halves, strict=True)
    ended = [python(source, CHILD, "train", str(pairs), "--out", str(half), *TRAIN) for source, half in sources]
    weights = [hashlib.sha256((f / "model" / "model.safetensors").read_bytes()).hexdigest() for f in halves]
    results["run gone on with: same weights"] = ended[0][0] == ended[1][0] == 0 and weights[0] == weights[1]
    results["weights"] = weights
    code, output = python(new, f"import seesay; print(seesay.open_run({str(work / 'half-old')!r}).is_finished)")
    results["run folder opened"] = (code, output) == (0, "True")
    return results


def refused(new: Path, work: Path) -> dict:
    """What a later seesay might write: (exit code, whether anything changed)."""
    results = {}
    run = work / "newer"
    newest = max((run / "checkpoints").glob("step-*")) / "state.json"
    state = json.loads(newest.read_text()) | {"format": 2}
    newest.write_text(json.dumps(state | {"own_sha256": own_sha256(state)}))
    results["checkpoint"] = unchanged(new, run, ["train", str(work / "pairs"), "--out", str(run), *TRAIN])
    model = work / "whole" / "model"
    description = json.loads((model / "model.json").read_text()) | {"format": 2}
    (model / "model.json").write_text(json.dumps(description))
    photos = ["classify", str(work / "pairs" / "001.png"), "cat", "dog", "--model", str(model)]
    results["model folder"] = unchanged(new, model, photos)
    return results


def unchanged(new: Path, folder: Path, words: list[str]) -> dict:
    before = tree(folder)
    code, output = python(new, CHILD, *words)
    after = tree(folder)
    names = [name for name in sorted(before | after) if before.get(name) != after.get(name)]
    return {"exit": code, "changed": names, "last_line": output.splitlines()[-1][:250] if output else ""}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("repository", type=Path)
    options.add_argument("commit")
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    new = Path(os.environ["PYTHONPATH"].partition(os.pathsep)[0])
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder, "old")
        old.mkdir()
        archive = subprocess.run(
            ["git", "-C", str(chosen.repository), "archive", chosen.commit, "src"], capture_output=True, check=True
        )
        subprocess.run(["tar", "-x", "-C", str(old)], input=archive.stdout, check=True)
        work = Path(folder, "work")
        work.mkdir()
        result = {"commit": chosen.commit, "opened": opened(old / "src", new, work), "newer": refused(new, work)}
    print(json.dumps(result, indent=2))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=2) + "\n")
    fine = all(value is True for key, value in result["opened"].items() if ":" in key or "opened" in key)
    return 0 if fine and all(one["exit"] == 4 and not one["changed"] for one in result["newer"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())

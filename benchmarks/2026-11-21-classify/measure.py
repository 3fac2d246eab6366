"""`seesay classify` on 100,000 photos: speed, memory, kills; and whether fitted probabilities and thresholds hold.

    python measure.py DATA WORK --out result.json

DATA holds train-tinyimagenet, eval-cifar10, eval-mnist and eval-dtd10; WORK is an empty folder for photos and answers.
"""

import argparse
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from seesay.base.runtime import Runtime, machine_facts

PHOTOS, EVERY, KILLS = 100_000, 1000, 3
LABELS = ["cat", "dog", "a bus", "a bridge", "a mushroom", "a beach", "a clock", "pizza", "a fish", "a spider"]
WEBP = {".webp"}


def link_photos(data: Path, folder: Path) -> None:
    """100,000 names for the 20,000 real pictures of train-tinyimagenet, a thousand to a folder."""
    real = folder / "real"
    real.mkdir(parents=True)
    files = []
    for tar in sorted((data / "train-tinyimagenet").glob("*.tar")):
        with tarfile.open(tar) as members:
            for member in members:
                if Path(member.name).suffix in WEBP:
                    files.append(real / f"{len(files):05}.webp")
                    files[-1].write_bytes(members.extractfile(member).read())
    for number in range(PHOTOS):
        own = folder / "photos" / f"{number // EVERY:03}"
        own.mkdir(parents=True, exist_ok=True)
        os.link(files[number % len(files)], own / f"{number:06}.webp")


def start(folder: Path, out: str) -> subprocess.Popen:
    words = [sys.executable, "-m", "seesay", "classify", "photos", *LABELS, "--top", "3", "-o", out]
    return subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def unbroken(folder: Path) -> dict:
    """One run from beginning to end, its memory looked at twice a second beside the size of its part file."""
    process, samples, part = start(folder, "whole.csv"), [], folder / "whole.csv.part"
    began = time.perf_counter()
    while process.poll() is None:
        if size := size_of(part):
            samples.append((size, resident(process.pid)))
        time.sleep(0.5)
    wall = time.perf_counter() - began
    told = process.communicate()[1]
    print(told, end="", flush=True)
    last = max(size for size, _ in samples)
    seen = [(size / last, kib / 1024) for size, kib in samples if kib]
    rate = re.search(r"([\d,]+) per second, ([\d,]+) per second and core", told)
    return {
        "exit": process.returncode,
        "wall_seconds": round(wall, 1),
        "photos_per_second": int(rate[1].replace(",", "")),
        "photos_per_second_and_core": int(rate[2].replace(",", "")),
        "peak_mib_photos_1000_to_10000": round(max(mib for share, mib in seen if 0.01 < share <= 0.1), 1),
        "peak_mib_last_10000": round(max(mib for share, mib in seen if share > 0.9), 1),
        "peak_mib": round(max(mib for _, mib in seen), 1),
        "part_file_mib": round(last / 2**20, 1),
    }


def killed(folder: Path, part_bytes: int) -> dict:
    """The same with SIGKILL at random moments, each followed by the same command again."""
    generator, kills = random.Random(20261121), []
    part, out = folder / "killed.csv.part", folder / "killed.csv"
    for share in sorted(generator.uniform(0.05, 0.95) for _ in range(KILLS)):
        process = start(folder, "killed.csv")
        while size_of(part) < share * part_bytes:
            if process.poll() is not None:
                raise RuntimeError(process.communicate()[1])
            time.sleep(generator.uniform(0.001, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait()
        lines = part.read_bytes().count(b"\n") - 1
        kills.append({"at_share": round(share, 3), "photos_on_disk": lines, "result_file_there": out.exists()})
        print(kills[-1], flush=True)
    process = start(folder, "killed.csv")
    told = process.communicate()[1]
    print(told, end="", flush=True)
    same = sha(folder / "whole.csv") == sha(out)
    return {"kills": kills, "exit": process.returncode, "same_file": same, "part_left": part.exists()}


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fitted_and_tested(data: Path) -> dict:
    """CIFAR-10 split in half, both ways: fitted on one, tested on the other and on two sets of other things."""
    import torch

    from seesay.data.evalsets import open_evalset
    from seesay.data.labelled import LabelledSet
    from seesay.formulas.calibration import sigmoid_loss_and_error, softmax_loss_and_error
    from seesay.model.encode import encode_image_set
    from seesay.model.hub import load
    from seesay.tasks.calibrate import decision_for
    from seesay.tasks.decision import Rules

    model, whole = load("box"), open_evalset(data / "eval-cifar10")
    others = {}
    for name in ("eval-mnist", "eval-dtd10"):
        found = open_evalset(data / name)
        others[name] = encode_image_set(model, found.image, len(found))[0]
    classifier = model.classifier(whole.class_names)
    told = []
    for seed in range(2):
        order = random.Random(seed).sample(range(len(whole)), len(whole))
        for first, second in ((order[::2], order[1::2]), (order[1::2], order[::2])):
            known = LabelledSet("half", whole.class_names, samples=[whole._samples[i] for i in sorted(first)])
            test = sorted(second)
            test_ND = encode_image_set(model, lambda i, test=test: whole.image(test[i]), len(test))[0]
            label_N = torch.tensor([whole.label(i) for i in test]).numpy()
            entry: dict = {"split": seed, "n_fitted": len(known), "n_tested": len(test)}
            plain = decision_for(model, classifier, rules=Rules(), labelled=known).classifier
            for when, own in (("before", classifier), ("after", plain)):
                logits = (own.scale * test_ND @ own.weights.T).numpy()
                loss, error = softmax_loss_and_error(logits, label_N)
                entry |= {f"log_loss_{when}": loss, f"calibration_error_{when}": error}
            for rate in (0.01, 0.05, 0.1):
                judge = decision_for(model, classifier, rules=Rules(none_of_these=rate), labelled=known)
                none = {name: share_without(judge, rows) for name, rows in {"known": test_ND, **others}.items()}
                entry[f"none_of_these_{rate}"] = {"bound": judge.facts["rate_held"], **none}
            judge = decision_for(model, classifier, rules=Rules(multi_label=True), labelled=known)
            is_final_form = torch.nn.functional.one_hot(torch.from_numpy(label_N), len(whole.class_names)).bool()
            is_given = test_ND @ classifier.weights.T >= judge.threshold_C
            wrong_C = (is_given & ~is_final_form).sum(0) / (~is_final_form).sum(0)
            logits = (judge.classifier.scale * test_ND @ judge.classifier.weights.T + judge.classifier.bias).numpy()
            loss, error = sigmoid_loss_and_error(logits, is_final_form.numpy())
            entry["multi_label_0.05"] = {
                "false_alarms_by_label": [round(float(share), 4) for share in wrong_C],
                "own_label_found": float((is_given & is_final_form).sum() / is_final_form.sum()),
                "log_loss": loss,
                "calibration_error": error,
            }
            told.append(entry)
            print(json.dumps(entry), flush=True)
    return {"halves": told}


def share_without(judge, rows) -> float:
    answers = judge.answers(rows, top=1)
    return sum(not labels for _, labels in answers) / len(answers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    result: dict = {"machine": machine_facts(Runtime.find()), "calibration": fitted_and_tested(asked.data)}
    if not (asked.work / "photos").exists():
        link_photos(asked.data, asked.work)
    result["unbroken"] = unbroken(asked.work)
    print(result["unbroken"], flush=True)
    part_bytes = int(result["unbroken"]["part_file_mib"] * 2**20)
    result["killed"] = killed(asked.work, part_bytes)
    asked.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

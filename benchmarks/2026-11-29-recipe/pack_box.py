"""Fit the temperature of a run's model, round it to float16, measure it as it ships, and write the box with its card.

    python benchmarks/2026-11-29-recipe/pack_box.py RUN DATA HELD --box FOLDER

HELD is what `hold_out.py` wrote. The files of the run and `result.json` go beside this script.

N = images, C = classes.
"""

import argparse
import json
import math
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

import seesay
from seesay.data.evalsets import open_evalset
from seesay.data.labelled import LabelledSet
from seesay.evaluation.evaluate import evaluate
from seesay.model.encode import score_image_set
from seesay.tasks.decision import KNOWN, known_cosines

HERE = Path(__file__).parent
HELD = ("held-tinyimagenet", "held-miniimagenet", "held-places")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("run", "data", "held"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--box", type=Path, required=True)
    parser.add_argument("--cpu-minutes", type=float, required=True, help="what the run took, all processes together")
    given = parser.parse_args()
    model = seesay.load(given.run / "model")
    model.name = "box"
    temperature = calibrate(model, given.held)
    with TemporaryDirectory() as place:
        model.save(Path(place) / "box", dtype=torch.float16)
        rounded = seesay.load(Path(place) / "box")
    entries = evaluate(rounded, sorted(given.data.glob("eval-*")), cache=False).entries
    scores = [entry.result.to_json() for entry in entries]
    (HERE / "result.json").write_text(json.dumps(scores, indent=1) + "\n")
    rounded.facts["evaluation"] = scores
    (given.box / "README.md").unlink(missing_ok=True)
    rounded.save(given.box, dtype=torch.float16)
    (given.box / "README.md").write_text(card(rounded, scores, given, temperature))
    for name in ("settings.toml", "facts.json", "events.jsonl", "curves.png"):
        shutil.copy(given.run / name, HERE / name)
    size = sum(file.stat().st_size for file in given.box.iterdir())
    print(f"{given.box}: {size / 1e6:.1f} MB, temperature {temperature:.3f}\n{table(scores)}")


def calibrate(model: "seesay.Model", held: Path) -> float:
    """One temperature for all held-out sets, into the model's scale; the cosines of right labels into its facts."""
    measured = [right_and_all(model, held / name) for name in HELD]
    scale = float(model.logit_scale)

    def loss(temperature: float) -> float:
        return float(
            np.mean(
                [
                    -log_softmax(scale / temperature * cosine_NC, axis=1)[np.arange(len(label_N)), label_N].mean()
                    for cosine_NC, label_N in measured
                ]
            )
        )

    temperature = float(minimize_scalar(loss, bounds=(0.2, 5.0), method="bounded").x)
    with torch.no_grad():
        model.clip.logit_scale.fill_(math.log(scale / temperature))
    right_N = np.concatenate([cosine_NC[np.arange(len(label_N)), label_N] for cosine_NC, label_N in measured])
    model.facts[KNOWN] = known_cosines(right_N, "images held out of its training")
    return temperature


def right_and_all(model: "seesay.Model", location: Path) -> tuple[np.ndarray, np.ndarray]:
    labelled = open_evalset(location)
    assert isinstance(labelled, LabelledSet)
    classifier = model.classifier(labelled.class_names)
    score_NC, read, _ = score_image_set(model, classifier, labelled.image, len(labelled))
    return score_NC.double().numpy(), np.array([labelled.label(index) for index in read])


def card(model: "seesay.Model", scores: list[dict], given: argparse.Namespace, temperature: float) -> str:
    data, held = given.data, given.held
    training = model.facts["training"]
    text = (HERE / "card.md").read_text()
    for name, value in {
        "pairs": f"{sum(int(count) for _, count, _, _ in folders(data)):,}",
        "pairs_seen": f"{training['pairs_seen']:,}",
        "minutes": f"{training['seconds'] / 60:.0f}",
        "cpu": f"{given.cpu_minutes:.0f}",
        "processor": training["machine"]["processor"],
        "cores": training["machine"]["cores"],
        "parameters": f"{sum(p.numel() for p in model.clip.parameters()) / 1e6:.1f}",
        "side": model.preprocess.size,
        "held": f"{model.facts[KNOWN]['photos']:,}",
        "left": f"{sum(len(open_evalset(path)) for path in held.glob('held-*')):,}",
        "temperature": f"{temperature:.2f}",
        "data": "\n".join(
            f"| {name} | {int(count):,} | {what} | {licence} |" for name, count, what, licence in folders(data)
        ),
        "table": table(scores),
    }.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def folders(data: Path) -> list[tuple[str, str, str, str]]:
    """Folder, pairs, content (its first words) and licence of the training sets, as the table beside them says."""
    rows = []
    for line in (data / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `train-") and len(cells) >= 8:
            rows.append((cells[0].strip("`"), cells[1], re.split(r"[;:]", cells[5])[0].strip(), cells[7]))
    return rows


def table(scores: list[dict]) -> str:
    rows = [
        "| set | n | measure | score | 95 % interval | chance | calibration error |",
        "|---|---|---|---|---|---|---|",
    ]
    for score in scores:
        low, high = (100 * end for end in score["interval95"])
        if score["task"] == "zero-shot":
            measure, value = "top-1", score["top1"]
        else:
            measure, value = "text to image R@10", score["text_to_image"]["r10"]
        error = score.get("calibration_error")
        rows.append(
            f"| {score['set']} | {score['n']:,} | {measure} | {100 * value:.1f} % | {low:.1f} - {high:.1f} | "
            f"{100 * score['chance']:.1f} % | {'' if error is None else f'{100 * error:.1f} %'} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()

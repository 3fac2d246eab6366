"""Round a run's model to float16, measure it as it will ship, and write the box with its card.

python pack_box.py RUN DATA --box FOLDER --result FILE.json
"""

import argparse
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import seesay
from seesay.evaluation.evaluate import evaluate

CARD = Path(__file__).with_name("card.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--box", type=Path, required=True)
    parser.add_argument("--result", type=Path, required=True)
    given = parser.parse_args()

    trained = seesay.load(given.run / "model")
    trained.name = "box"
    with TemporaryDirectory() as place:
        trained.save(Path(place) / "box", dtype=torch.float16)
        rounded = seesay.load(Path(place) / "box")
    entries = evaluate(rounded, sorted(given.data.glob("eval-*")), cache=False).entries
    scores = [entry.result.to_json() for entry in entries]
    given.result.write_text(json.dumps(scores, indent=1) + "\n")
    rounded.facts["evaluation"] = scores
    rounded.save(given.box, dtype=torch.float16)
    (given.box / "README.md").write_text(card(rounded, scores))
    for name in ("settings.toml", "facts.json", "events.jsonl", "curves.png"):
        shutil.copy(given.run / name, given.result.parent / name)
    size = sum(file.stat().st_size for file in given.box.iterdir())
    print(f"{given.box}: {size / 1e6:.1f} MB")
    print(table(scores))


def card(model: "seesay.Model", scores: list[dict]) -> str:
    training = model.facts["training"]
    values = {
        "pairs": f"{training['data']['pairs']:,}",
        "pairs_seen": f"{training['pairs_seen']:,}",
        "minutes": f"{training['seconds'] / 60:.0f}",
        "processor": training["machine"]["processor"],
        "cores": training["machine"]["cores"],
        "parameters": f"{sum(p.numel() for p in model.clip.parameters()) / 1e6:.1f}",
        "side": model.preprocess.size,
        "table": table(scores),
    }
    text = CARD.read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def table(scores: list[dict]) -> str:
    rows = ["| set | n | measure | score | 95 % interval | chance |", "|---|---|---|---|---|---|"]
    for score in scores:
        low, high = (100 * end for end in score["interval95"])
        if score["task"] == "zero-shot":
            measure, value = "top-1", score["top1"]
        else:
            measure, value = "text to image R@10", score["text_to_image"]["r10"]
        rows.append(
            f"| {score['set']} | {score['n']:,} | {measure} | {100 * value:.1f} % | {low:.1f} - {high:.1f} | "
            f"{100 * score['chance']:.1f} % |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()

"""The box's calibration error on every labelled set beside the project, before and after, with intervals.

    python measure.py DATA BOX

Top-1 and the share of "none of these" cannot change, and are counted to see that they do not. The intervals are of
1,000 bootstrap draws of images; the error of few images is above 0 for a perfect model too, `chance` says by how much
(the mean of 1,000 draws of right and wrong by the probabilities after). The errors go into the card and the file in the
folder BOX, too.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import seesay
from seesay.data.evalsets import open_evalset
from seesay.data.labelled import LabelledSet
from seesay.evaluation.suite import Question, measure_set
from seesay.formulas.reliability import reliability
from seesay.tasks.decision import decision_by_known

HERE = Path(__file__).parent
DRAWS = 1000


def error(confidence_N: np.ndarray, hit_N: np.ndarray) -> float:
    return reliability(confidence_N, hit_N).expected_error


def interval(confidence_N: np.ndarray, hit_N: np.ndarray) -> list[float]:
    random, n = np.random.default_rng(0), len(hit_N)
    draws = [error(confidence_N[index], hit_N[index]) for index in random.integers(0, n, (DRAWS, n))]
    return np.quantile(draws, (0.025, 0.975)).tolist()


def chance(confidence_N: np.ndarray) -> float:
    random = np.random.default_rng(0)
    draws = random.random((DRAWS, len(confidence_N))) < confidence_N
    return float(np.mean([error(confidence_N, hit_N) for hit_N in draws]))


def write(box: Path, results: list[dict]) -> None:
    """The errors into `model.json` and the last column of the card's table."""
    error_of = {result["set"]: result["after"]["error"] for result in results}
    described = json.loads((box / "model.json").read_text())
    for score in described["facts"]["evaluation"]:
        if score["set"] in error_of:
            score["calibration_error"] = error_of[score["set"]]
    (box / "model.json").write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n")
    lines = (box / "README.md").read_text().splitlines()
    for number, line in enumerate(lines):
        cells = line.split(" | ")
        if line.startswith("| eval-") and (name := cells[0].removeprefix("| ")) in error_of:
            lines[number] = " | ".join([*cells[:-1], f"{100 * error_of[name]:.1f} % |"])
    (box / "README.md").write_text("\n".join(lines) + "\n")


def main(data: Path, box: Path) -> None:
    model, results = seesay.load("box"), []
    for location in sorted(data.glob("eval-*")):
        evalset = open_evalset(location)
        if not isinstance(evalset, LabelledSet):
            continue
        answers = measure_set(model, evalset, Question()).answers
        assert answers is not None and answers.image_ND is not None
        result = {"set": evalset.name, "n": len(answers.label_N)}
        score_NC = answers.classifier.scores(answers.image_ND)
        for when, classifier in {
            "before": replace(answers.classifier, confidence=None),
            "after": answers.classifier,
        }.items():
            confidence_N = classifier.probabilities_of(score_NC).amax(1).double().numpy()
            hit_N = classifier.probabilities_of(score_NC).argmax(1).numpy() == answers.label_N
            decided = decision_by_known(model, classifier, 0.05).answers(answers.image_ND, top=1)
            result[when] = {
                "top1": float(hit_N.mean()),
                "mean_confidence": float(confidence_N.mean()),
                "error": error(confidence_N, hit_N),
                "interval95": interval(confidence_N, hit_N),
                "chance": chance(confidence_N),
                "none_of_these": float(np.mean([not labels for _, labels in decided])),
            }
        assert answers.classifier.confidence is not None
        result["names_known"] = float(np.mean(answers.classifier.confidence.familiarities))
        result["best_cosine"] = float(score_NC.amax(1).mean())
        results.append(result)
        before, after = result["before"], result["after"]
        low, high = (100 * end for end in after["interval95"])
        print(
            f"| {evalset.name} | {result['n']:,} | {100 * after['top1']:.1f} % | {result['names_known']:.2f} | "
            f"{100 * before['error']:.1f} % | **{100 * after['error']:.1f} %** "
            f"[{low:.1f}, {high:.1f}] | {100 * after['chance']:.1f} % | "
            f"{result['best_cosine']:.2f} |",
            flush=True,
        )
        assert before["top1"] == after["top1"] and before["none_of_these"] == after["none_of_these"]
    (HERE / "result.json").write_text(json.dumps(results, indent=1) + "\n")
    write(box, results)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

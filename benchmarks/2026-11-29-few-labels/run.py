"""Few labels on labelled sets: zero-shot, the plain probe, a probe from words, Tip-Adapter; the same draws for all.

    python benchmarks/2026-11-29-few-labels/run.py ../shared/data --made MADE --out result.json

Those of training shards are in MADE: `by_key.py` makes all but fashion-types, twelve types of train-fashion, which
`fashion` of ../2026-11-29-finetune/compare.py does.
For each set and draw the images of every class are shuffled; the first n are the shots, the next min(n, 4) validate the
penalty of the plain probe (as `seesay probe --shots` does), and all others, 1,000 at most, are the test. From words and
Tip-Adapter see the shots alone. N = images, W = features, D = embedding width, K = classes.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.stats
import torch

from seesay.data.labelled import LabelledSet
from seesay.model.bundle import Model
from seesay.model.cache import EmbeddingCache
from seesay.model.encode import embeddings_of
from seesay.model.hub import load
from seesay.model.zero_shot import Classifier
from seesay.tasks.few_shot import NO_CACHE, OfFeatures, encode_set, open_labelled
from seesay.tasks.linear_probe import LinearProbe
from seesay.tasks.words import choose_words

# The constants of tasks/from_words.py were chosen on these, the last four from training shards (see below); on the
# next five they were not.
CHOSEN_ON = (
    *("eval-dtd10", "eval-cifar10", "eval-rsicd30", "eval-mnist", "eval-tinyimagenet-val"),
    *("eval-food20", "eval-counting-nlvr", "eval-shift-photo32", "eval-caltech101"),
    *("fashion-types", "sports", "instr", "places"),
)
OTHERS = ("scene", "monkey", "food", "trash", "weather")
SHOTS = (0, 1, 2, 4, 8, 16)
MOST_TESTED = 1000
# Zhang et al. 2022, "Tip-Adapter", the fixed values of its training-free form.
TIP_WEIGHT, TIP_SHARPNESS = 1.0, 5.5


@dataclass(frozen=True, kw_only=True)
class Set:
    """Features (N, W), embeddings (N, D), labels (N,) and the zero-shot classifier of one set."""

    name: str
    features_NW: torch.Tensor
    row_ND: torch.Tensor
    label_N: np.ndarray
    head: Classifier
    model: Model

    def accuracy(self, logits_NK: np.ndarray, rows: np.ndarray) -> float:
        return float((logits_NK.argmax(1) == self.label_N[rows]).mean())


def encoded(model: Model, evalset: LabelledSet) -> Set:
    found = encode_set(model, evalset, evalset, EmbeddingCache.find() or NO_CACHE, lambda done: None)
    words = choose_words(model, (evalset,), evalset.class_names)
    return Set(
        name=evalset.name,
        features_NW=found.features_NW,
        row_ND=embeddings_of(model, found.features_NW),
        label_N=found.label_N,
        head=model.classifier(words.names, words.templates),
        model=model,
    )


def tip_adapter(data: Set, shots: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Logits of Tip-Adapter without training: the scaled cosines plus a soft vote of the shots."""
    near_NM = torch.exp(-TIP_SHARPNESS * (1 - data.row_ND[test] @ data.row_ND[shots].T))
    votes_MK = torch.nn.functional.one_hot(torch.from_numpy(data.label_N[shots]), len(data.head.class_names)).float()
    logits_NK = data.head.scale * data.head.scores(data.row_ND[test]) + TIP_WEIGHT * near_NM @ votes_MK
    return logits_NK.numpy()


def one_draw(data: Set, count: int, draw: int, *, is_compared: bool = True) -> dict[str, float] | None:
    """Accuracies by method, others than from words if it is compared; None where a class has too few images."""
    generator = np.random.default_rng(draw)
    members = [generator.permutation(np.flatnonzero(data.label_N == k)) for k in range(len(data.head.class_names))]
    further = min(count, 4)
    if min(map(len, members)) < count + further + 2:
        further = 0
    if min(map(len, members)) < count + 2:
        return None
    shots = np.concatenate([each[:count] for each in members])
    validation = np.concatenate([each[count : count + further] for each in members])
    test = generator.permutation(np.concatenate([each[count + further :] for each in members]))[:MOST_TESTED]
    zero_shot = data.accuracy(data.head.scores(data.row_ND[test]).numpy(), test)
    start = OfFeatures(model=data.model, head=data.head)
    x_NW, y_N, test_NW = data.features_NW[shots], data.label_N[shots], data.features_NW[test]
    words = LinearProbe(start=start).fit(x_NW, y_N)
    scores = {"zero-shot": zero_shot, "from words": words.score(test_NW, data.label_N[test])}
    scores["scale"] = words.start_scale_
    if not count or not is_compared:
        return scores
    validated = (data.features_NW[validation], data.label_N[validation]) if further else None
    plain = LinearProbe().fit(x_NW, y_N, validation=validated)
    if further:
        plain = LinearProbe(penalty=plain.penalty_).fit(x_NW, y_N)
    scores["plain"] = plain.score(test_NW, data.label_N[test])
    scores["tip-adapter"] = data.accuracy(tip_adapter(data, shots, test), test)
    return scores


def p_value(one: list[float], other: list[float]) -> float:
    """Of a paired t-test over draws; 1 where all are equal."""
    return 1.0 if one == other else float(scipy.stats.ttest_rel(one, other).pvalue)


def asked(out: str, *, draws: int, sets: Sequence[str]) -> argparse.Namespace:
    """What is on the command line, with these defaults; `folders` by the names of the sets."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--draws", type=int, default=draws)
    parser.add_argument("--model", default="box")
    parser.add_argument("--made", type=Path)
    parser.add_argument("--sets", nargs="*", default=sets)
    given = parser.parse_args()
    given.folders = {name: (given.data if name.startswith("eval-") else given.made) / name for name in given.sets}
    torch.set_num_threads(1)
    return given


def main() -> None:
    arguments = asked("result.json", draws=10, sets=[*CHOSEN_ON, *OTHERS])
    model, result = load(arguments.model), []
    for name, folder in arguments.folders.items():
        data = encoded(model, open_labelled(folder))
        for count in SHOTS:
            draws = [one_draw(data, count, draw) for draw in range(arguments.draws if count else 1)]
            kept = [draw for draw in draws if draw is not None]
            if not kept:
                continue
            values = {method: [draw[method] for draw in kept] for method in kept[0]}
            entry = {"set": name, "shots": count, "chosen_on": name in CHOSEN_ON, **values}
            if count:
                entry["p_zero_shot"] = p_value(values["from words"], values["zero-shot"])
                entry["p_plain"] = p_value(values["from words"], values["plain"])
            result.append(entry)
            means = "  ".join(f"{method} {np.mean(scores):.3f}" for method, scores in values.items())
            print(f"{name} {count:2} shots, {len(kept)} draws: {means}", flush=True)
            arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Two, three and five classes of each set, drawn anew each time: the same methods and draws as in `run.py`.

python benchmarks/2026-11-29-few-labels/few_classes.py ../shared/data --made MADE --out few-classes.json
"""

import json
from pathlib import Path

import numpy as np
from run import CHOSEN_ON, Set, asked, encoded, one_draw, p_value

from seesay.model.bundle import Model
from seesay.model.hub import load
from seesay.tasks.few_shot import open_labelled
from seesay.tasks.words import choose_words

CLASSES, SHOTS = (2, 3, 5), (1, 2, 4)
LEAST_IMAGES = 10


def some_classes(data: Set, count: int, draw: int, names: list[str], templates: list[str]) -> Set | None:
    """`count` of the classes that have `LEAST_IMAGES`, all their images and no others."""
    enough = np.flatnonzero(np.bincount(data.label_N, minlength=len(names)) >= LEAST_IMAGES)
    if len(enough) < count:
        return None
    chosen = np.random.default_rng([draw, count]).choice(enough, count, replace=False)
    rows = np.flatnonzero(np.isin(data.label_N, chosen))
    number = {kind: at for at, kind in enumerate(chosen)}
    return Set(
        name=data.name,
        features_NW=data.features_NW[rows],
        row_ND=data.row_ND[rows],
        label_N=np.array([number[kind] for kind in data.label_N[rows]]),
        head=data.model.classifier([names[kind] for kind in chosen], templates),
        model=data.model,
    )


def of_set(model: Model, path: Path, draws: int) -> list[dict]:
    evalset = open_labelled(path)
    data, words = encoded(model, evalset), choose_words(model, (evalset,), evalset.class_names)
    found = []
    for count in CLASSES:
        sets = [some_classes(data, count, draw, list(words.names), list(words.templates)) for draw in range(draws)]
        for shots in SHOTS:
            scores = [one_draw(each, shots, draw) for draw, each in enumerate(sets) if each is not None]
            if kept := [each for each in scores if each is not None]:
                values = {method: [each[method] for each in kept] for method in kept[0]}
                entry = {"set": path.name, "classes": count, "shots": shots}
                entry |= values
                entry |= {
                    f"p_{other}": p_value(values["from words"], values[other]) for other in ("zero-shot", "plain")
                }
                found.append(entry)
                means = "  ".join(f"{method} {np.mean(value):.3f}" for method, value in values.items())
                print(f"{path.name} {count} classes {shots} shots, {len(kept)} draws: {means}", flush=True)
    return found


def main() -> None:
    arguments = asked("few-classes.json", draws=40, sets=CHOSEN_ON)
    model, result = load(arguments.model), []
    for folder in arguments.folders.values():
        result += of_set(model, folder, arguments.draws)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

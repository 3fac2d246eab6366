"""What each choice of `--from-words` brings: the probe as it is, and with one choice undone, on the draws of `run.py`.

python benchmarks/2026-11-29-few-labels/choices.py ../shared/data --made MADE --out choices.json
"""

import json
from contextlib import ExitStack
from unittest.mock import patch

import numpy as np
import torch
from run import CHOSEN_ON, asked, encoded, one_draw

from seesay.formulas.similarity import unit
from seesay.model.hub import load
from seesay.tasks import from_words, linear_probe, penalty_sweep
from seesay.tasks.few_shot import open_labelled

SHOTS = (1, 2, 4)
FREE = penalty_sweep.examples


def likelihood(logits_NK: torch.Tensor, label_N: torch.Tensor) -> torch.Tensor:
    """Logarithms of the labels' probabilities (N,), counted as they are."""
    return logits_NK.log_softmax(1).gather(1, label_N[:, None])[:, 0] / from_words.SCORE


def with_free_intercepts(*given, has_free_intercepts: bool):
    return FREE(*given, has_free_intercepts=True)


UNDONE = {
    "as it is": (),
    "rows as they come": ((linear_probe, "evened", lambda x_NW: x_NW),),
    "rows of unit length": ((linear_probe, "evened", unit),),
    "free intercepts": ((penalty_sweep, "examples", with_free_intercepts),),
    "by likelihood": ((from_words, "quadratic_scores", likelihood),),
    "one usual penalty, 10^-0.5": ((from_words, "LOW", -0.5), (from_words, "RISE", 0.0)),
}


def main() -> None:
    arguments = asked("choices.json", draws=10, sets=CHOSEN_ON)
    model, result = load(arguments.model), []
    for name, folder in arguments.folders.items():
        data = encoded(model, open_labelled(folder))
        for shots in SHOTS:
            entry = {"set": name, "shots": shots}
            for title, patches in UNDONE.items():
                with ExitStack() as stack:
                    for module, attribute, value in patches:
                        stack.enter_context(patch.object(module, attribute, value))
                    draws = [one_draw(data, shots, draw, is_compared=False) for draw in range(arguments.draws)]
                entry[title] = [draw["from words"] for draw in draws if draw is not None]
            result.append(entry)
            print(
                name, shots, *(f"{title} {100 * np.mean(entry[title]):.1f}" for title in UNDONE), sep="  ", flush=True
            )
            arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""A classifier made of words.

C = classes, P = things made of prompts (classes, captions), D = embedding width, N = images, B = images in a block.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seesay.base.records import Ranking
from seesay.formulas.similarity import widened
from seesay.formulas.zero_shot import class_head, match_probabilities, probabilities

PROMPTS_AT_ONCE = 1 << 16


@dataclass(frozen=True, kw_only=True)
class ZeroShotClassifier:
    """Class embeddings `weights` (C, D) of unit length, in the order of `class_names`.

    `encode_images` is the model's, `scale` its factor on cosines, and `bias` what it adds to them if it scores by a
    sigmoid. Without a bias probabilities are shared out over the classes: rows sum to 1. With one each class is
    judged by itself: all may be near 0, or several near 1.
    """

    class_names: tuple[str, ...]
    weights: Tensor
    scale: float
    encode_images: Callable[[Sequence], Tensor]
    bias: float | None = None

    def predict_proba(self, images: Sequence) -> Tensor:
        """Anything `Model.encode_images` takes to (N, C) probabilities."""
        return self.probabilities(self.encode_images(images))

    def probabilities(self, image_ND: Tensor) -> Tensor:
        """Unit rows (N, D) to (N, C) probabilities; whether rows sum to 1 is said above."""
        if self.bias is None:
            return probabilities(image_ND, self.weights, self.scale)
        return match_probabilities(image_ND, self.weights, self.scale, self.bias)

    def rank(self, image_ND: Tensor, *, top: int | None = None) -> list[Ranking]:
        """The best `top` labels (default all) for every row, best first."""
        count = min(top or len(self.class_names), len(self.class_names))
        # By the cosines: probabilities have the same order, but those near 0 or 1 are rounded to ties.
        best_NC = (widened(image_ND) @ widened(self.weights).T).topk(count, dim=1).indices
        values_NC = self.probabilities(image_ND).gather(1, best_NC)
        return [
            Ranking(labels=tuple(self.class_names[index] for index in indices), probabilities=tuple(values))
            for indices, values in zip(best_NC.tolist(), values_NC.tolist(), strict=True)
        ]


def prompt_rows(encode_texts: Callable[[Sequence[str]], Tensor], prompts: Sequence[Sequence[str]]) -> Tensor:
    """(P, D) unit rows: for each list of prompts the mean direction of their embeddings.

    Embeds some 65,000 prompts at a time, so that lists of any length fit.
    """
    rows, waiting, count = [], [], 0
    for own in prompts:
        waiting.append(own)
        count += len(own)
        if count >= PROMPTS_AT_ONCE:
            rows.append(_rows_at_once(encode_texts, waiting))
            waiting, count = [], 0
    if waiting:
        rows.append(_rows_at_once(encode_texts, waiting))
    return torch.cat(rows)


def _rows_at_once(encode_texts: Callable[[Sequence[str]], Tensor], prompts: Sequence[Sequence[str]]) -> Tensor:
    prompt_ND = encode_texts([prompt for own in prompts for prompt in own])
    sizes = [len(own) for own in prompts]
    if len(set(sizes)) == 1:
        return class_head(prompt_ND.view(len(prompts), sizes[0], -1))
    return torch.cat([class_head(own_KD[None]) for own_KD in prompt_ND.split(sizes)])

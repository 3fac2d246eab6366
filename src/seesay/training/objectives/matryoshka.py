"""What: an objective on embeddings, asked of all numbers of a row and of the first few alone; rows may then be cut.

Source: Kusupati et al. 2022, "Matryoshka Representation Learning", section 3, with equal weights.
Formula: L = mean over widths m of L'(unit(u[:m]), unit(v[:m])), where L' is the objective's own loss and s is shared.
Inputs: those of the objective.
Settings: widths (`--set objective.widths=[64,128,256]`); the whole width is always one of them.
Zero-shot: that of the objective, on rows cut to any of the widths and made unit length again.
Differences: none.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from seesay.base.records import Batch, Embedded, Outputs
from seesay.formulas.similarity import prefix
from seesay.nets.architecture import Architecture
from seesay.nets.clip import Clip
from seesay.training.objectives.base import GlobalBatch, Objective

OF_THE_BASE = ("name", "crops", "captions", "templates", "overfit_tolerance", "is_sum_over_pairs")


class Matryoshka(Objective):
    """`base`, which compares embeddings, on rows of every one of `widths` and whole ones."""

    def __init__(self, base: Objective, widths: Sequence[int]):
        self.base, self.widths = base, tuple(sorted(set(widths)))
        vars(self).update({name: getattr(base, name) for name in OF_THE_BASE})

    def architecture(self, base: Architecture) -> Architecture:
        return self.base.architecture(base)

    def set_up(self, clip: Clip) -> None:
        self.base.set_up(clip)

    def loss(self, outputs: Outputs, batch: GlobalBatch) -> Tensor:
        assert isinstance(outputs, Embedded)
        image_BD, text_BD, whole = outputs.image_BD, outputs.text_BD, outputs.image_BD.shape[1]
        losses = [self.base.loss(outputs, batch)]
        for width in self.widths:
            if width < whole:
                cut = replace(outputs, image_BD=prefix(image_BD, width), text_BD=prefix(text_BD, width))
                losses.append(self.base.loss(cut, batch))
        return torch.stack(losses).mean()

    def is_final_form(self, batch: GlobalBatch) -> bool:
        return self.base.is_final_form(batch)

    def chance_loss(self, batch_size: int, vocab_size: int) -> float | None:
        return self.base.chance_loss(batch_size, vocab_size)

    def minimum_loss(self, batch: Batch) -> float:
        return self.base.minimum_loss(batch)

"""What: which caption of the batch belongs to which image, asked both ways; CLIP's own objective.

Source: Radford et al. 2021, section 2.3 and figure 3.
Formula: L = (CE(s U V^T, I) + CE(s V U^T, I)) / 2 for unit rows U of images and V of captions, and a learned s.
Inputs: images and captions; where they repeat in a batch, targets are shared out over all that are equal.
Settings: data.share_repeats; s starts at 1 / 0.07 and is held below 100.
Zero-shot: the cosine of an image and the mean of a class's prompts.
Differences: none, but for the shared targets.
"""

import math
from typing import ClassVar

from torch import Tensor

from seesay.base.records import Batch, Embedded, Outputs
from seesay.formulas.contrastive import contrastive_loss, matches
from seesay.formulas.tiled import part_of_contrastive_loss, tiled_contrastive_loss
from seesay.nets.architecture import Architecture
from seesay.training.objectives.base import GlobalBatch, Objective, transformer, with_text

# From here on the N x N logits of the plain form take more time than tiles do.
TILED_FROM = 2048


class Contrastive(Objective):
    """CLIP, with the transformer as text tower."""

    name = "contrastive"
    overfit_tolerance = 0.0
    is_ordered: ClassVar[bool] = True

    def architecture(self, base: Architecture) -> Architecture:
        return with_text(base, transformer(base))

    def loss(self, outputs: Outputs, batch: GlobalBatch) -> Tensor:
        assert isinstance(outputs, Embedded)
        ids = batch.global_ids()
        if batch.world_size > 1:
            return self._part(outputs, ids, batch) * batch.world_size
        image_BD, text_BD, scale = outputs.image_BD, outputs.text_BD, outputs.scale
        if len(image_BD) < TILED_FROM:
            return contrastive_loss(image_BD, text_BD, scale, is_match_NN=matches(*ids) if ids else None)
        image_id_B, caption_id_B = ids or (None, None)
        return tiled_contrastive_loss(image_BD, text_BD, scale, image_id_B=image_id_B, caption_id_B=caption_id_B)

    def chance_loss(self, batch_size: int, vocab_size: int) -> float:
        return math.log(batch_size)

    def minimum_loss(self, batch: Batch) -> float:
        return least_loss(batch, is_ordered=self.is_ordered)

    def _part(self, outputs: Embedded, ids: tuple[Tensor, Tensor] | None, batch: GlobalBatch) -> Tensor:
        image_id_N, caption_id_N = ids or (None, None)
        return part_of_contrastive_loss(
            batch.all_gather(outputs.image_BD),
            batch.all_gather(outputs.text_BD),
            outputs.scale,
            part=batch.local_rows,
            image_id_N=image_id_N,
            caption_id_N=caption_id_N,
        )


def least_loss(batch: Batch, *, is_ordered: bool) -> float:
    """The mean over pairs of ln(how many pairs of the batch cannot be told from it, itself included).

    Those have the same image, words, tokens or pixels; a tower that is not `is_ordered` sees no order of tokens.
    Shared targets have the same minimum: the entropy of a target with k equal parts is ln(k).
    """
    ids_BL = batch.tokens.ids_BL if is_ordered else batch.tokens.ids_BL.sort(1).values
    pixels_BP = batch.pixels_B3SS.flatten(1)
    is_same_BB = matches(batch.image_id_B, batch.caption_id_B)
    for rows in (ids_BL, pixels_BP):
        number_B = rows.unique(dim=0, return_inverse=True)[1]
        is_same_BB = is_same_BB | (number_B[:, None] == number_B)
    return float(is_same_BB.sum(1).float().log().mean())

"""What: which caption of the batch belongs to which image, asked both ways; CLIP's own objective.

Source: Radford et al. 2021, section 2.3 and figure 3.
Formula: L = (CE(s U V^T, I) + CE(s V U^T, I)) / 2 for unit rows U of images and V of captions, and a learned s.
Inputs: images and captions; where they repeat in a batch, targets are shared out over all that are equal.
Settings: data.share_repeats; s starts at 1 / 0.07 and is held below 100.
Zero-shot: the cosine of an image and the mean of a class's prompts.
Differences: none, but for the shared targets.
"""

import math

from torch import Tensor

from seesay.base.records import Embedded, Predicted
from seesay.formulas.contrastive import contrastive_loss, matches
from seesay.formulas.tiled import part_of_contrastive_loss, tiled_contrastive_loss
from seesay.nets.architecture import Architecture
from seesay.training.objectives.face import AllPairs, Objective, transformer, with_text

# From here on the N x N logits of the plain form take more time than tiles do.
TILED_FROM = 2048


class Contrastive(Objective):
    """CLIP, with the transformer as text tower."""

    name = "contrastive"

    def architecture(self, base: Architecture) -> Architecture:
        return with_text(base, transformer(base))

    def loss(self, seen: Embedded | Predicted, pairs: AllPairs) -> Tensor:
        assert isinstance(seen, Embedded)
        ids = pairs.ids()
        if pairs.peers.ranks > 1:
            return self._part(seen, ids, pairs) * pairs.peers.ranks
        image_BD, text_BD, scale = seen.image_BD, seen.text_BD, seen.scale
        if len(image_BD) < TILED_FROM:
            return contrastive_loss(image_BD, text_BD, scale, is_match_NN=matches(*ids) if ids else None)
        image_id_B, caption_id_B = ids or (None, None)
        return tiled_contrastive_loss(image_BD, text_BD, scale, image_id_B=image_id_B, caption_id_B=caption_id_B)

    def guess(self, batch_size: int) -> float:
        return math.log(batch_size)

    def _part(self, seen: Embedded, ids: tuple[Tensor, Tensor] | None, pairs: AllPairs) -> Tensor:
        image_id_N, caption_id_N = ids or (None, None)
        return part_of_contrastive_loss(
            pairs.gather(seen.image_BD),
            pairs.gather(seen.text_BD),
            seen.scale,
            part=pairs.part,
            image_id_N=image_id_N,
            caption_id_N=caption_id_N,
        )

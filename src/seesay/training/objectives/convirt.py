"""What: CLIP's question with more weight on finding the caption for an image, behind non-linear heads; ConVIRT.

Source: Zhang et al. 2020, "Contrastive Learning of Medical Visual Representations from Paired Images and Text",
section 2.
Formula: L = (1/N) sum over i of w l_i(v to u) + (1 - w) l_i(u to v), softmax losses of cosines over t.
Inputs: images and captions; a caption of several sentences gives one of them, drawn anew in every epoch. Where they
repeat in a batch, targets are shared out over all that are equal.
Settings: w = 0.75 and t = 0.1, fixed as published; data.augment, by default as published: crops of 0.6 of the area or
more, mirrored half of the time, turned by up to 20 degrees and moved by up to a tenth, colours changed by up to 0.4,
blurred.
Zero-shot: the cosine of an image and the mean of a class's prompts.
Differences: the text tower is CLIP's transformer, pooled at the end token and trained from scratch, where the
publication takes the maximum over ClinicalBERT's tokens; the first layer of each head has no bias; crops are square,
and not zoomed by another 5 %. Brightness and contrast: each channel is multiplied by 1 +- 0.4 +- 0.2, the 0.2 of
its own, and moved by up to 51 of 255, where the publication scales brightness and contrast of the image
by 0.6 to 1.4. Every process holds the N x N logits of its rows and the N x N matches of all.
"""

import math

from torch import Tensor

from seesay.base.records import Batch, Embedded, Outputs
from seesay.data.augment import Augment
from seesay.data.captions import CaptionRule
from seesay.formulas.contrastive import matches, weighted_contrastive_loss
from seesay.nets.architecture import Architecture
from seesay.nets.clip import Clip
from seesay.training.objectives.base import GlobalBatch, Objective, fix_scale, transformer, with_text
from seesay.training.objectives.contrastive import least_loss

# Zhang et al. 2020, section 4: lambda and tau.
IMAGE_WEIGHT = 0.75
TEMPERATURE = 0.1


class Convirt(Objective):
    """ConVIRT's loss and heads on CLIP's towers."""

    name = "convirt"
    crops = Augment(scale=0.6, flip=0.5, turn=20.0, move=0.1, colour=0.4, blur=3.0)
    captions = CaptionRule(sentences=True)

    def architecture(self, base: Architecture) -> Architecture:
        return with_text(base, transformer(base), projection="mlp")

    def set_up(self, clip: Clip) -> None:
        fix_scale(clip, -math.log(TEMPERATURE))

    def loss(self, outputs: Outputs, batch: GlobalBatch) -> Tensor:
        assert isinstance(outputs, Embedded)
        ids = batch.global_ids()
        part_of_loss = weighted_contrastive_loss(
            batch.all_gather(outputs.image_BD),
            batch.all_gather(outputs.text_BD),
            outputs.scale,
            image_weight=IMAGE_WEIGHT,
            part=batch.local_rows,
            is_match_NN=matches(*ids) if ids else None,
        )
        return part_of_loss * batch.world_size

    def chance_loss(self, batch_size: int, vocab_size: int) -> float:
        return math.log(batch_size)

    def minimum_loss(self, batch: Batch) -> float:
        return least_loss(batch, is_ordered=True)

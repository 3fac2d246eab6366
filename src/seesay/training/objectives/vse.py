"""What: every pair ahead of the hardest other caption and the hardest other image of the batch by a margin; VSE++.

Source: Faghri et al. 2018, "VSE++: Improving Visual-Semantic Embeddings with Hard Negatives", equations 5 and 6.
Formula: L = (1/N) sum over i of max_j [m - s_ii + s_ij]_+ + max_j [m - s_ii + s_ji]_+ for cosines s, j no match of i;
in the first half of the run sums over j in place of the maxima.
Inputs: images and captions; where they repeat in a batch they are not one another's negatives.
Settings: data.share_repeats; the margin m is 0.2, as published.
Zero-shot: the cosine of an image and the mean of a class's prompts; probabilities at CLIP's starting scale, as the
loss knows none.
Differences: CLIP's transformer reads captions, where the publication has a GRU; towers are trained from scratch, where
it starts from a trained CNN: with maxima alone, or after one epoch with sums, all rows come to be the same one, which
costs twice the margin. Hence the sums to begin with.
"""

from torch import Tensor

from seesay.base.records import Embedded, Outputs
from seesay.formulas.contrastive import matches
from seesay.formulas.hinge import hinge_loss
from seesay.nets.architecture import Architecture
from seesay.nets.clip import LOGIT_SCALE_START, Clip
from seesay.training.objectives.base import GlobalBatch, Objective, fix_scale, transformer, with_text

# Faghri et al. 2018, section 4.2.
MARGIN = 0.2
# Sums for half of the run: after one epoch of them all rows came to be the same (benchmarks/2026-11-21-objectives).
SHARE_OF_SUMS = 0.5


class Vse(Objective):
    """VSE++'s hinge on CLIP's towers."""

    name = "vse"

    def architecture(self, base: Architecture) -> Architecture:
        return with_text(base, transformer(base))

    def set_up(self, clip: Clip) -> None:
        fix_scale(clip, LOGIT_SCALE_START)

    def is_final_form(self, batch: GlobalBatch) -> bool:
        return batch.done >= SHARE_OF_SUMS

    def loss(self, outputs: Outputs, batch: GlobalBatch) -> Tensor:
        assert isinstance(outputs, Embedded)
        ids = batch.global_ids()
        part_of_loss = hinge_loss(
            batch.all_gather(outputs.image_BD),
            batch.all_gather(outputs.text_BD),
            margin=MARGIN,
            hardest=self.is_final_form(batch),
            part=batch.local_rows,
            is_match_NN=matches(*ids) if ids else None,
        )
        return part_of_loss * batch.world_size

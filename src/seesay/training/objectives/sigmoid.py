"""What: of every image and every caption of the batch, "do they belong together?", each asked by itself; SigLIP.

Source: Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training", section 3.1 and algorithm 1.
Formula: L = -(1/N) sum over i, j of log sigmoid(z_ij (s u_i . v_j + b)), z = 1 where i = j and -1 elsewhere.
Inputs: images and captions; where they repeat in a batch, z is 1 for all that are equal.
Settings: data.share_repeats; s starts at 10 and b at -10, both learned; s is not held.
Zero-shot: the cosine of an image and the mean of a class's prompts; probabilities are the sigmoid of s cosine + b.
Differences: the text tower is CLIP's causal one, and the image tower's pooling its own; equal captions are mismatches
in the publication, as with data.share_repeats=false.
"""

from torch import Tensor

from seesay.base.records import Embedded, Outputs
from seesay.formulas.tiled import tiled_sigmoid_loss
from seesay.nets.architecture import Architecture
from seesay.training.objectives.base import GlobalBatch, Objective, transformer, with_text


class Sigmoid(Objective):
    """SigLIP's loss on CLIP's towers."""

    name = "sigmoid"

    def architecture(self, base: Architecture) -> Architecture:
        return with_text(base, transformer(base), scoring="sigmoid")

    def loss(self, outputs: Outputs, batch: GlobalBatch) -> Tensor:
        assert isinstance(outputs, Embedded) and outputs.bias is not None
        image_id_N, caption_id_N = batch.global_ids() or (None, None)
        loss = tiled_sigmoid_loss(
            outputs.image_BD,
            batch.all_gather(outputs.text_BD),
            outputs.scale,
            outputs.bias,
            first=batch.local_rows.start,
            image_id_N=image_id_N,
            caption_id_N=caption_id_N,
        )
        return loss * batch.weight

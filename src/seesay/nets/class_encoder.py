"""An image tower in front of a fixed classifier, which is what its text tower says of the classes.

B = images, C = classes, D = embedding width, S = side in pixels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from seesay.base.errors import UsageError
from seesay.base.records import Predicted, Tokens
from seesay.formulas.similarity import widened
from seesay.nets.clip import DualEncoder


class ClassEncoder(DualEncoder):
    """A dual encoder that learns to tell classes apart; its text tower stays, and so do the rows of the classes.

    A class is known by the token ids of its caption. All else is the dual encoder's, whose state it has too.
    Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", section 3: the classifier is the zero-shot
    one. There it is trained as well; here it stays what the text tower says, so that the model still answers in words.
    """

    rows_CD: Tensor

    def __init__(self, clip: DualEncoder, rows_CD: Tensor, ids: Sequence[Sequence[int]]):
        super().__init__(clip.image_tower, clip.text_tower, projections=(clip.image_projection, clip.text_projection))
        self.logit_scale, self.logit_bias = clip.logit_scale, clip.logit_bias
        self.register_buffer("rows_CD", rows_CD, persistent=False)
        self._class_of = {tuple(row): number for number, row in enumerate(ids)}

    def forward(self, pixels_B3SS: Tensor, tokens: Tokens) -> Predicted:  # type: ignore[override]
        """Images and the captions of their classes to the cross-entropy of each among all classes, in nats."""
        lengths = tokens.length_B.tolist()
        rows = [tuple(row[:length]) for row, length in zip(tokens.ids_BL.tolist(), lengths, strict=True)]
        # Blank rows, which another process waits for, are ones; no caption is.
        unknown = {row for row in rows if row not in self._class_of and set(row) != {1}}
        if unknown:
            raise UsageError(
                f"{len(unknown)} captions of a batch are none of start.classes; classes are learned by "
                "`seesay finetune MODEL DATA --how image`."
            )
        class_B = torch.tensor([self._class_of.get(row, 0) for row in rows], device=pixels_B3SS.device)
        image_BD = widened(self.embed_images(pixels_B3SS))
        # A logit of 100 in bfloat16 is off by up to a quarter.
        with torch.autocast(pixels_B3SS.device.type, enabled=False):
            logits_BC = self.logit_scale.exp() * image_BD @ self.rows_CD.T
        return Predicted(loss_B=F.cross_entropy(logits_BC, class_B, reduction="none"))

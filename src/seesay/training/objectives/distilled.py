"""What: an objective on embeddings, and a teacher's answer to "which caption of the batch, which image?" beside it.

Source: Wu et al. 2023, "TinyCLIP", section 3.1; Yang et al. 2024, "CLIP-KD", section 3.2.
Formula: L = L' + w T^2 KL(softmax(t / T) || softmax(s / T)), the mean of both directions, where L' is the objective's
own loss, and s and t are the scaled cosines of the batch for the model and its teacher, whose widths may differ.
Inputs: those of the objective, and the teacher's rows of the same pairs.
Settings: teacher, distillation.weight (w), distillation.temperature (T).
Zero-shot: that of the objective.
Differences: the teacher sees each image once, whole and not as it is cropped in a step, so that its rows are kept.
"""

from torch import Tensor

from seesay.base.records import Batch, Embedded, Outputs
from seesay.formulas.contrastive import affinity_loss
from seesay.nets.architecture import Architecture
from seesay.nets.clip import Clip
from seesay.training.objectives.base import GlobalBatch, Objective
from seesay.training.objectives.matryoshka import OF_THE_BASE


class Distilled(Objective):
    """`base`, which compares embeddings, and a teacher; of a batch without, as in validation, the loss of `base`."""

    def __init__(self, base: Objective, teacher: str, *, weight: float, temperature: float):
        self.base, self.weight, self.temperature = base, weight, temperature
        self.beside = f"{base.beside}, and the answers of the teacher {teacher}, which weigh {weight:g}"
        vars(self).update({name: getattr(base, name) for name in OF_THE_BASE})

    def architecture(self, base: Architecture) -> Architecture:
        return self.base.architecture(base)

    def set_up(self, clip: Clip) -> None:
        self.base.set_up(clip)

    def loss(self, outputs: Outputs, batch: GlobalBatch) -> Tensor:
        own, teacher = self.base.loss(outputs, batch), batch.teacher
        if teacher is None:
            return own
        assert isinstance(outputs, Embedded)
        teacher_NN = teacher.scale * batch.all_gather(teacher.image_BD) @ batch.all_gather(teacher.text_BD).T
        distance = affinity_loss(
            batch.all_gather(outputs.image_BD),
            batch.all_gather(outputs.text_BD),
            outputs.scale,
            teacher_NN=teacher_NN,
            temperature=self.temperature,
            part=batch.local_rows,
        )
        return own + self.weight * batch.world_size * distance

    def is_final_form(self, batch: GlobalBatch) -> bool:
        return self.base.is_final_form(batch)

    def minimum_loss(self, batch: Batch) -> float:
        return self.base.minimum_loss(batch)

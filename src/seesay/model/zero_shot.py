"""A classifier made of words. C = classes, D = embedding width, N = images, B = images in a block."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from seesay.base.records import Ranking
from seesay.formulas.zero_shot import probabilities


@dataclass(frozen=True, kw_only=True)
class ZeroShotClassifier:
    """Class embeddings `weights` (C, D) of unit length, in the order of `class_names`.

    `encode_images` is the model's, and `scale` its factor on cosines.
    """

    class_names: tuple[str, ...]
    weights: Tensor
    scale: float
    encode_images: Callable[[Sequence], Tensor]

    def predict_proba(self, images: Sequence) -> Tensor:
        """Anything `Model.encode_images` takes to (N, C) rows that sum to 1."""
        return self.probabilities(self.encode_images(images))

    def probabilities(self, image_ND: Tensor) -> Tensor:
        """Unit rows (N, D) to (N, C) rows that sum to 1."""
        return probabilities(image_ND, self.weights, self.scale)

    def rank(self, image_ND: Tensor, *, top: int | None = None) -> list[Ranking]:
        """The best `top` labels (default all) for every row, best first."""
        count = min(top or len(self.class_names), len(self.class_names))
        best = self.probabilities(image_ND).topk(count, dim=1)
        return [
            Ranking(labels=tuple(self.class_names[index] for index in indices), probabilities=tuple(values))
            for indices, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

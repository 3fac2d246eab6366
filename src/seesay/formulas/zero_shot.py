"""A classifier made of words. B = images, C = classes, K = prompts per class, D = embedding width."""

from torch import Tensor

from seesay.formulas.similarity import unit, widened


def class_head(prompt_CKD: Tensor) -> Tensor:
    """One unit row per class, (C, D): the direction of the mean of the class's prompts, each taken at unit length.

    The average is over embeddings, not over probabilities (Radford et al. 2021, section 3.1.4), so the head costs
    as much as a single prompt once it is made.
    """
    return unit(unit(widened(prompt_CKD)).mean(1))


def probabilities(image_BD: Tensor, head_CD: Tensor, scale: float | Tensor) -> Tensor:
    """softmax over classes of `scale` times the cosine, (B, C); rows sum to 1.

    Both inputs must be unit length. `scale` is the multiplier itself, exp of the learned parameter: about 100 in
    the published models.
    """
    return (scale * widened(image_BD) @ widened(head_CD).T).softmax(-1)


def match_probabilities(image_BD: Tensor, head_CD: Tensor, scale: float | Tensor, bias: float | Tensor) -> Tensor:
    """sigmoid of `scale` times the cosine plus `bias`, (B, C): each from 0 to 1, and rows sum to anything.

    How likely class and image belong together, whatever the other classes are (Zhai et al. 2023, section 3.1).
    Inputs as for `probabilities`.
    """
    return (scale * widened(image_BD) @ widened(head_CD).T + bias).sigmoid()

"""Two towers and a temperature. B = pairs, D = embedding width, S = side in pixels."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.base.records import Embedded, Tokens
from seesay.nets.architecture import Architecture, Scoring
from seesay.nets.bag_of_words import BagOfWords
from seesay.nets.convnet import ConvNet
from seesay.nets.resnet import ResNet
from seesay.nets.siglip import SiglipImage, SiglipText
from seesay.nets.text import TextTransformer
from seesay.nets.undrawn import Undrawn
from seesay.nets.vit import VisionTransformer

TOWERS = {
    "vit": VisionTransformer,
    "resnet": ResNet,
    "conv": ConvNet,
    "transformer": TextTransformer,
    "bag-of-words": BagOfWords,
    "siglip-image": SiglipImage,
    "siglip-text": SiglipText,
}
LOGIT_SCALE_START = math.log(1 / 0.07)
LOGIT_SCALE_MAX = math.log(100)
# Zhai et al. 2023, section 3.2: most pairs are no match, and the first step should not have to learn that.
SIGMOID_SCALE_START = math.log(10)
SIGMOID_BIAS_START = -10.0


class Clip(nn.Module):
    """An image tower, a text tower, and the logarithm of the factor on their cosines.

    With sigmoid scoring there is a bias on the scaled cosines as well; else `logit_bias` is None.
    """

    def __init__(self, image_tower: nn.Module, text_tower: nn.Module, *, scoring: Scoring = "softmax"):
        super().__init__()
        self.image_tower = image_tower
        self.text_tower = text_tower
        is_sigmoid = scoring == "sigmoid"
        self.logit_scale = nn.Parameter(torch.tensor(SIGMOID_SCALE_START if is_sigmoid else LOGIT_SCALE_START))
        self.logit_bias = nn.Parameter(torch.tensor(SIGMOID_BIAS_START)) if is_sigmoid else None

    def embed_images(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to unit rows (B, D)."""
        return F.normalize(self.image_tower(pixels_B3SS), dim=-1)

    def embed_texts(self, tokens: Tokens) -> Tensor:
        """Token ids to unit rows (B, D)."""
        return F.normalize(self.text_tower(tokens), dim=-1)

    def forward(self, pixels_B3SS: Tensor, tokens: Tokens) -> Embedded:
        return Embedded(
            image_BD=self.embed_images(pixels_B3SS),
            text_BD=self.embed_texts(tokens),
            scale=self.logit_scale.exp(),
            bias=self.logit_bias,
        )

    @torch.no_grad()
    def hold_logit_scale(self) -> bool:
        """Bring the logit scale back into [0, ln 100] after a step; True if it had left it (paper, section 2.5).

        With sigmoid scoring it is free, and SigLIP's own are above 100.
        """
        if self.logit_bias is not None:
            return False
        held = self.logit_scale.clamp(0, LOGIT_SCALE_MAX)
        left = bool(held != self.logit_scale)
        self.logit_scale.copy_(held)
        return left


def build_clip(architecture: Architecture, *, seed: int) -> Clip:
    """A model with random weights that depend on `architecture` and `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _clip(architecture)


def empty_clip(architecture: Architecture) -> Clip:
    """A model on the meta device: names and shapes without memory, to be filled from a file."""
    with torch.device("meta"), Undrawn():
        return _clip(architecture)


def _clip(architecture: Architecture) -> Clip:
    image_tower = TOWERS[architecture.image.kind](architecture.image, architecture.embed_dim)
    text_tower = TOWERS[architecture.text.kind](architecture.text, architecture.embed_dim)
    return Clip(image_tower, text_tower, scoring=architecture.scoring)

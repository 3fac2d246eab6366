"""Two towers and a temperature. B = pairs, D = embedding width, S = side in pixels."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.base.records import Embedded, Tokens
from seesay.nets.architecture import Architecture
from seesay.nets.bag_of_words import BagOfWords
from seesay.nets.convnet import ConvNet
from seesay.nets.resnet import ResNet
from seesay.nets.text import TextTransformer
from seesay.nets.vit import VisionTransformer

TOWERS = {
    "vit": VisionTransformer,
    "resnet": ResNet,
    "conv": ConvNet,
    "transformer": TextTransformer,
    "bag-of-words": BagOfWords,
}
LOGIT_SCALE_START = math.log(1 / 0.07)
LOGIT_SCALE_MAX = math.log(100)


class Clip(nn.Module):
    """An image tower, a text tower, and the logarithm of the factor on their cosines."""

    def __init__(self, image_tower: nn.Module, text_tower: nn.Module):
        super().__init__()
        self.image_tower = image_tower
        self.text_tower = text_tower
        self.logit_scale = nn.Parameter(torch.tensor(LOGIT_SCALE_START))

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
        )

    @torch.no_grad()
    def hold_logit_scale(self) -> bool:
        """Bring the logit scale back into [0, ln 100] after a step; True if it had left it (paper, section 2.5)."""
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
    with torch.device("meta"):
        return _clip(architecture)


def _clip(architecture: Architecture) -> Clip:
    image_tower = TOWERS[architecture.image.kind](architecture.image, architecture.embed_dim)
    text_tower = TOWERS[architecture.text.kind](architecture.text, architecture.embed_dim)
    return Clip(image_tower, text_tower)

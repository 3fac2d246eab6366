"""Small models of every kind of tower that is written here, with random weights."""

import numpy as np
import torch

from seesay.data.images import Preprocess
from seesay.model.build import byte_pairs
from seesay.model.bundle import Model
from seesay.nets.architecture import (
    Architecture,
    BagOfWordsConfig,
    ConvNetConfig,
    ResNetConfig,
    SiglipImageConfig,
    SiglipTextConfig,
    TextTransformerConfig,
    VisionTransformerConfig,
)
from seesay.nets.clip import build_clip

WORDS = 600
BLOCKS = {"width": 64, "layers": 2, "heads": 2}
TRANSFORMER = TextTransformerConfig(context=20, vocab_size=WORDS, **BLOCKS)
SIGLIP_TEXT = {"context": 16, "vocab_size": WORDS, "pad": 1, **BLOCKS}
TOWERS = {
    "vit": (VisionTransformerConfig(image_size=32, patch=8, **BLOCKS), TRANSFORMER, {}),
    "vit of patches": (
        VisionTransformerConfig(image_size=32, patch=8, pool="patches", pre_norm=False, activation="gelu", **BLOCKS),
        TRANSFORMER,
        {"projection": "mlp"},
    ),
    "resnet": (ResNetConfig(image_size=64, width=8, layers=(1, 2, 1, 1), heads=4), TRANSFORMER, {}),
    "conv": (
        ConvNetConfig(image_size=36, width=16, depths=(1, 2)),
        BagOfWordsConfig(context=20, vocab_size=WORDS, width=32),
        {},
    ),
    "siglip": (
        SiglipImageConfig(image_size=36, patch=8, **BLOCKS),
        SiglipTextConfig(**SIGLIP_TEXT),
        {"scoring": "sigmoid"},
    ),
    "siglip to the end": (
        SiglipImageConfig(image_size=32, patch=8, **BLOCKS),
        SiglipTextConfig(pool="end", **SIGLIP_TEXT),
        {"scoring": "sigmoid"},
    ),
}


def model_of(family):
    """A small model with random weights; those of its normalisations are not what every new model has."""
    image, text, more = TOWERS[family]
    architecture = Architecture(embed_dim=64, image=image, text=text, **more)
    clip = build_clip(architecture, seed=0)
    generator = torch.Generator().manual_seed(1)
    for name, tensor in clip.state_dict().items():
        if name.endswith(("running_mean", "running_var", "norm_2.weight", "norm_3.weight", "bias")):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return Model(
        clip, architecture, byte_pairs(WORDS, context=text.context), preprocess=Preprocess(size=image.image_size)
    )


def pictures(count, side):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)

"""Models of the paper's two kinds, small enough to be made in every test, with every tensor moved from its start."""

from collections.abc import Callable

import pytest
import torch

from seesay.data.images import Preprocess
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.bundle import Model
from seesay.nets.architecture import Architecture, ResNetConfig, TextTransformerConfig, VisionTransformerConfig
from seesay.nets.clip import build_clip

WORDS = ["a photo of a red dog", "a photo of a blue dog", "two red cats on a blue mat"] * 3
TOKENIZER = CaptionTokenizer.train(WORDS, vocab_size=530, context=8)


def make(image, *, preprocess: Preprocess | None = None, **text) -> Model:
    architecture = Architecture(
        embed_dim=24,
        image=image,
        text=TextTransformerConfig(
            context=8, vocab_size=TOKENIZER.vocab_size, **{"width": 16, "layers": 2, "heads": 2} | text
        ),
    )
    clip = build_clip(architecture, seed=0)
    generator = torch.Generator().manual_seed(1)
    for name, tensor in clip.state_dict().items():
        noise = torch.rand(tensor.shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            tensor += 7
        elif name.endswith(("running_var", "norm_3.weight")):
            tensor.copy_(0.5 + noise)
        else:
            tensor += 0.2 * (noise - 0.5)
    return Model(
        clip,
        architecture,
        TOKENIZER,
        preprocess=preprocess or Preprocess(size=image.image_size, mean=(0.5, 0.4, 0.3)),
        name="model",
    )


def vit_with(**change) -> Model:
    """A ViT; what begins with `text_` is changed in the text tower."""
    text = {name.removeprefix("text_"): change.pop(name) for name in list(change) if name.startswith("text_")}
    preprocess = change.pop("preprocess", None)
    values = {"image_size": 16, "patch": 8, "width": 32, "layers": 3, "heads": 4} | change
    return make(VisionTransformerConfig(**values), preprocess=preprocess, **text)


@pytest.fixture
def make_vit() -> Callable[..., Model]:
    return vit_with


@pytest.fixture
def vit() -> Model:
    return vit_with()


@pytest.fixture
def resnet() -> Model:
    return make(ResNetConfig(image_size=64, width=8, layers=(2, 1, 1, 2), heads=4))

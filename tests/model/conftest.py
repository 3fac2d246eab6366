"""A model small enough to be made in every test: a one-block tower for 16 px and a bag of a few words."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from seesay.data.images import Preprocess
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.bundle import Model
from seesay.nets.architecture import (
    Architecture,
    BagOfWordsConfig,
    ConvNetConfig,
    ResNetConfig,
    SiglipImageConfig,
    VisionTransformerConfig,
)
from seesay.nets.clip import IMAGE_TOWERS, build_clip

WORDS = ["a photo of a red dog", "a photo of a blue dog", "two red cats on a blue mat"] * 3


TOKENIZER = CaptionTokenizer.train(WORDS, vocab_size=530, context=8)


def tiny() -> Model:
    tokenizer = TOKENIZER
    architecture = Architecture(
        embed_dim=8,
        image=ConvNetConfig(image_size=16, width=8, depths=(1,)),
        text=BagOfWordsConfig(context=tokenizer.context, vocab_size=tokenizer.vocab_size, width=8),
    )
    return Model(
        build_clip(architecture, seed=0),
        architecture,
        tokenizer,
        preprocess=Preprocess(size=16, mean=(0.5, 0.4, 0.3)),
        templates=("a photo of a {}.", "the {}"),
        name="tiny",
        facts={"training": {"steps": 0, "loss": float("nan")}},
    )


@pytest.fixture
def model() -> Model:
    return tiny()


@pytest.fixture
def with_tower(model: Model) -> Callable[[str], Model]:
    """`model` with an image tower of another kind, for 32 px."""
    configs = {
        "vit": VisionTransformerConfig(image_size=32, patch=16, width=16, layers=1, heads=2),
        "resnet": ResNetConfig(image_size=32, width=8, layers=(1, 1, 1, 1), heads=4),
        "conv": ConvNetConfig(image_size=32, width=12, depths=(1,)),
        "siglip": SiglipImageConfig(image_size=32, patch=16, width=8, layers=1, heads=2),
    }

    def change(kind: str) -> Model:
        config = configs[kind]
        torch.manual_seed(0)
        model.clip.image_tower = IMAGE_TOWERS[config.kind](config, 8).eval()
        model.preprocess = Preprocess(size=32, mean=(0.5, 0.4, 0.3))
        return model

    return change


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model"
    tiny().save(path)
    return path


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """The model's folder, as it was saved, to do with as one likes."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture(scope="session")
def operators() -> torch.library.Library:
    """torchvision built for another torch can be imported once these operators have a schema."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in ("nms(Tensor a, Tensor b, float c) -> Tensor", "qnms(Tensor a, Tensor b, float c) -> Tensor"):
        try:
            library.define(schema)
        except RuntimeError:  # a torchvision that fits this torch has defined them
            break
    return library

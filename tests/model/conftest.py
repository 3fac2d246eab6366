"""A model small enough to be made in every test: a one-block tower for 16 px and a bag of a few words."""

from pathlib import Path

import pytest

from seesay.data.images import Preprocess
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.bundle import Model
from seesay.nets.architecture import Architecture, BagOfWordsConfig, ConvNetConfig
from seesay.nets.clip import build_clip

WORDS = ["a photo of a red dog", "a photo of a blue dog", "two red cats on a blue mat"] * 3


@pytest.fixture
def model() -> Model:
    tokenizer = CaptionTokenizer.train(WORDS, vocab_size=530, context=8)
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
def folder(model: Model, tmp_path: Path) -> Path:
    model.save(tmp_path / "model")
    return tmp_path / "model"

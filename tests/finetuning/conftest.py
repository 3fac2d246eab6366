"""What tests of fine-tuning share: class folders of squares, and a model small enough to be trained in a moment."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import seesay
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.bundle import Model

SHADES = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "yellow": (230, 220, 40)}
WORDS = ["a photo of a red square.", "a green one", "a blue one", "a yellow one", "white and black, striped"] * 3


def write_classes(folder: Path, classes: dict[str, tuple[int, int, int]], count: int, seed: int) -> Path:
    """A folder per class with images of one colour and noise."""
    random = np.random.default_rng(seed)
    for name, colour in classes.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.clip(np.array(colour) + random.integers(-25, 26, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index:03}.png")
    return folder


@pytest.fixture
def squares(tmp_path) -> Callable[..., Path]:
    """Class folders of coloured squares; another seed, other images."""

    def write(name: str = "squares", *, count: int = 15, seed: int = 0, classes: int = 4) -> Path:
        return write_classes(tmp_path / name, dict(list(SHADES.items())[:classes]), count, seed)

    return write


@pytest.fixture
def small_model(one_thread) -> Model:
    """A convolutional tower for small images and a bag of words, not trained."""
    tokenizer = CaptionTokenizer.train(WORDS, vocab_size=560, context=16)
    return seesay.build("conv-tiny", tokenizer=tokenizer)


@pytest.fixture
def small_vit(one_thread) -> Model:
    """A vision transformer with a text transformer, not trained."""
    tokenizer = CaptionTokenizer.train(WORDS, vocab_size=560, context=16)
    return seesay.build("vit-small", tokenizer=tokenizer)

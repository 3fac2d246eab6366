"""An untrained model of a known size, with a vocabulary of the right size that claims nothing."""

from pathlib import Path

import pytest
import torch

import seesay
from seesay.base.errors import UsageError
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model import build as module
from seesay.model.build import build, byte_pairs


def test_a_small_size_is_built_saved_and_loaded_with_its_stand_in_vocabulary(tmp_path: Path):
    model = build("conv-tiny", seed=3)
    assert model.facts == {"weights": "random, seed 3", "vocabulary": "byte pairs, a stand-in for learned words"}
    assert model.tokenizer.vocab_size == model.architecture.text.vocab_size == 6144
    model.save(tmp_path / "model")
    again = seesay.load(tmp_path / "model")
    assert torch.equal(again.encode_texts(["a dog"]), build("conv-tiny", seed=3).encode_texts(["a dog"]))
    assert not torch.equal(again.encode_texts(["a dog"]), build("conv-tiny", seed=4).encode_texts(["a dog"]))


def test_the_stand_in_has_clips_size_and_makes_tokens_of_two_letters():
    tokenizer = byte_pairs(49_408, context=77)
    assert (tokenizer.vocab_size, tokenizer.end) == (49_408, 49_407)
    assert len(tokenizer(["abcdefg"])[0]) == 2 + 3 + 1
    assert tokenizer.decode(tokenizer(["a photo of a cat"])[0]) == "a photo of a cat"


def test_a_vocabulary_that_is_given_decides_the_size(tmp_path: Path):
    tokenizer = CaptionTokenizer.train(["a dog and a cat"] * 3, vocab_size=520, context=9)
    model = build("conv-tiny", tokenizer=tokenizer)
    text = model.architecture.text
    assert (text.vocab_size, text.context) == (tokenizer.vocab_size, 9)
    assert "vocabulary" not in model.facts
    (tmp_path / "merges.txt").write_text("#version: 0.2\na t\n")
    assert build("conv-tiny", tokenizer=tmp_path / "merges.txt").architecture.text.vocab_size == 515


def test_an_unknown_size_names_the_nearest_and_the_package_offers_build():
    with pytest.raises(UsageError, match="RN50x4"):
        build("RN50-4")
    assert seesay.build is module.build

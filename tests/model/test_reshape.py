"""A model moved to another image size or text length: tables as torch and open_clip make them, the rest as it is."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seesay.base.errors import UsageError
from seesay.cli.main import main
from seesay.data.images import Preprocess
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.build import build
from seesay.model.bundle import Model
from seesay.model.convert import convert
from seesay.model.hub import load
from seesay.model.reshape import image_positions, reshape, text_positions
from seesay.nets.architecture import (
    Architecture,
    ResNetConfig,
    SiglipImageConfig,
    SiglipTextConfig,
    TextTransformerConfig,
    VisionTransformerConfig,
)
from seesay.nets.clip import build_clip

WORDS = ["a photo of a red dog", "two red cats on a blue mat"] * 3
TOWERS = {
    "vit": (VisionTransformerConfig(image_size=32, patch=8, width=16, layers=1, heads=2), 48, "image_tower.positions"),
    "resnet": (
        ResNetConfig(image_size=64, width=8, layers=(1, 1, 1, 1), heads=4),
        96,
        "image_tower.pool.positions",
    ),
    "siglip": (SiglipImageConfig(image_size=32, patch=8, width=16, layers=1, heads=2), 50, "image_tower.positions"),
}


def made(kind: str, context: int = 24) -> Model:
    tokenizer = CaptionTokenizer.train(WORDS, vocab_size=530, context=context)
    image, _, _ = TOWERS[kind]
    text = TextTransformerConfig(context=context, vocab_size=tokenizer.vocab_size, width=16, layers=1, heads=2)
    architecture = Architecture(embed_dim=16, image=image, text=text)
    size = image.image_size
    return Model(
        build_clip(architecture, seed=0), architecture, tokenizer, preprocess=Preprocess(size=size), name="old"
    )


@pytest.mark.parametrize("kind", list(TOWERS))
def test_only_the_table_of_positions_changes_and_it_is_what_torch_interpolates(kind: str, tmp_path: Path):
    model, (_, size, table) = made(kind), TOWERS[kind]
    convert(model, tmp_path / "new", to="seesay", image_size=size)
    new = load(tmp_path / "new")
    assert new.preprocess.size == new.architecture.image.image_size == size
    assert new.facts["reshaped_from"] == {"image_size": model.preprocess.size, "context": 24}
    before, after = model.clip.state_dict(), new.clip.state_dict()
    assert before.keys() == after.keys()
    assert [name for name in before if not torch.equal(before[name], after[name])] == [table]
    first = 0 if kind == "siglip" else 1
    old_GW, new_GW = before[table][first:], after[table][first:]
    old, side = round(len(old_GW) ** 0.5), round(len(new_GW) ** 0.5)
    grid = old_GW.reshape(old, old, 1, -1).permute(2, 3, 0, 1)
    expected = F.interpolate(grid, size=(side, side), mode="bicubic", antialias=True)
    torch.testing.assert_close(new_GW, expected[0].flatten(1).T, rtol=0, atol=0)
    assert torch.equal(before[table][:first], after[table][:first])
    assert new.encode_images([np.zeros((9, 9, 3), np.uint8)]).shape == (1, 16)


def test_what_was_measured_at_another_size_is_not_kept():
    model = made("vit")
    model.facts = {"training": {"steps": 3}, "confidence": {"line": []}, "known_photos": {}, "evaluation": []}
    known = {"training": {"steps": 3}, "confidence": {"line": []}}
    once = reshape(model, image_size=48)
    assert once.facts == {**known, "reshaped_from": {"image_size": 32, "context": 24}}
    assert reshape(once, context=30).facts == once.facts and reshape(model, image_size=32).facts == model.facts


def test_a_smaller_size_and_the_same_size():
    model = made("vit")
    table = model.clip.state_dict()["image_tower.positions"]
    assert len(reshape(model, image_size=16).clip.state_dict()["image_tower.positions"]) == 5
    same = reshape(model, image_size=32)
    assert all(torch.equal(same.clip.state_dict()[name], value) for name, value in model.clip.state_dict().items())
    assert image_positions(table.half(), 6, before=1).dtype == torch.float16


def test_open_clip_resizes_the_same_table_to_the_same_numbers():
    pytest.importorskip("torchvision", reason="open_clip needs torchvision", exc_type=ImportError)
    theirs = pytest.importorskip("open_clip.model")
    table = torch.randn(50, 12, generator=torch.Generator().manual_seed(0))
    weights = {"visual.positional_embedding": table}

    class Wanted:
        class visual:
            grid_size = (11, 11)

    theirs.resize_pos_embed(weights, Wanted)
    torch.testing.assert_close(image_positions(table, 11, before=1), weights["visual.positional_embedding"])


def test_a_convolutional_tower_without_positions_only_changes_its_size(tmp_path: Path):
    model = build("conv-tiny")
    convert(model, tmp_path / "new", to="seesay", image_size=40)
    new = load(tmp_path / "new")
    assert new.preprocess.size == 40
    assert all(torch.equal(new.clip.state_dict()[name], value) for name, value in model.clip.state_dict().items())


# Texts


def long_clip(table: torch.Tensor) -> torch.Tensor:
    """The published loop, from 77 positions to 248, written out: quarters of a step, and the last step goes on."""
    length, width, kept = len(table), table.shape[1], 20
    new = torch.zeros(4 * length - 3 * kept, width, dtype=table.dtype)
    new[:kept] = table[:kept]
    for index in range(length - 1 - kept):
        for quarter in range(4):
            low, high = table[index + kept], table[index + 1 + kept]
            new[4 * index + quarter + kept] = (4 - quarter) * low / 4 + quarter * high / 4
    for quarter in range(4):
        new[4 * length - 3 * kept - 4 + quarter] = table[-1] + quarter * (table[-1] - table[-2]) / 4
    return new


def test_from_77_to_248_positions_are_long_clips():
    table = torch.randn(77, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(text_positions(table, 248), long_clip(table), rtol=1e-6, atol=1e-6)
    assert torch.equal(text_positions(table, 120)[:20], table[:20])
    # Positions that lie on a line stay on it, however many there are.
    line = torch.arange(77.0)[:, None].double()
    steps = text_positions(line, 130)[20:].diff(dim=0)
    torch.testing.assert_close(steps, torch.full_like(steps, 57 / 110))


def test_longer_texts_are_read_to_their_end_and_short_ones_hardly_change(tmp_path: Path):
    model = made("vit")
    convert(model, tmp_path / "new", context=40)
    new = load(tmp_path / "new")
    assert new.tokenizer.context == new.architecture.text.context == 40
    before, after = model.clip.state_dict(), new.clip.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["text_tower.positions"]
    assert torch.equal(model.encode_texts(["a red dog"]), new.encode_texts(["a red dog"]))
    # 32 and 33 tokens: both were cut to the same 24.
    texts = ["x " * 30, "x " * 31]
    assert torch.equal(*model.encode_texts(texts)) and not torch.equal(*new.encode_texts(texts))


def test_a_shorter_context_cuts_and_warns(tmp_path: Path):
    with pytest.warns(UserWarning, match="texts are cut at 12 tokens from now on; it was 24"):
        new = reshape(made("vit"), context=12)
    table = made("vit").clip.state_dict()["text_tower.positions"]
    assert torch.equal(new.clip.state_dict()["text_tower.positions"], table[:12])
    assert len(new.tokenizer(["dog " * 30])[0]) == 12


def test_a_bag_of_words_has_no_positions_to_stretch():
    model = build("conv-tiny")
    new = reshape(model, context=model.tokenizer.context + 30)
    assert all(torch.equal(new.clip.state_dict()[name], value) for name, value in model.clip.state_dict().items())


# What is refused


@pytest.mark.parametrize(
    ("kind", "change", "complaint"),
    [
        ("vit", {"image_size": 44}, "image_size 44 is no multiple of 8, by which the tower cuts it; take 40 or 48"),
        ("resnet", {"image_size": 80}, "image_size 80 is no multiple of 32, by which the tower cuts it; take 64 or 96"),
        ("vit", {"image_size": 4}, "image_size is 4; give a whole number of pixels from 8 to 2048"),
        ("vit", {"image_size": -36}, "image_size is -36; give a whole number of pixels from 8 to 2048"),
        ("vit", {"image_size": 9}, "take 8 or 16"),
        ("resnet", {"image_size": 16}, r"image_size 16 is no multiple of 32, by which the tower cuts it; take 32\.$"),
        ("vit", {"image_size": 0}, "image_size is 0; give a whole number"),
        ("vit", {"image_size": 40.5}, "image_size is 40.5; give a whole number of pixels"),
        ("vit", {"context": 2}, "context is 2, but it should be"),
        ("vit", {"context": 5000}, "context is 5000, but it should be"),
    ],
)
def test_a_size_that_the_tower_cannot_take_is_refused_in_one_line(kind: str, change: dict, complaint: str, tmp_path):
    with pytest.raises(UsageError, match=complaint) as caught:
        convert(made(kind), tmp_path / "new", **change)
    assert "\n" not in str(caught.value) and not (tmp_path / "new").exists()


def test_a_table_too_short_to_stretch_and_towers_of_a_fixed_length_are_refused(predictor):
    with pytest.raises(UsageError, match=r"longer than the 20 that stay .* the model's has 16"):
        reshape(made("vit", context=16), context=40)
    with pytest.raises(UsageError, match="the text side captioner was trained for 16 tokens and reads no other number"):
        reshape(predictor("caption"), context=40)
    model = made("siglip")
    text = SiglipTextConfig(context=24, vocab_size=model.tokenizer.vocab_size, width=16, layers=1, heads=2, pad=0)
    model.architecture = model.architecture.model_copy(update={"text": text})
    with pytest.raises(UsageError, match="the text side siglip-text"):
        reshape(model, context=40)


# The command


def test_the_command_says_what_it_wrote(tmp_path: Path, capfd):
    made("vit").save(tmp_path / "old")
    words = ["convert", tmp_path / "old", tmp_path / "new", "--image-size", "64", "--context", "30"]
    assert main([str(word) for word in words]) == 0
    out, err = capfd.readouterr()
    assert out.startswith(f"{tmp_path / 'old'} -> {tmp_path / 'new'} (seesay); largest difference 0.0e+00 (images)")
    assert "old answers otherwise: measure it before use" in err
    again = ["convert", tmp_path / "new", tmp_path / "same", "--image-size", "64", "--context", "30"]
    assert main([str(word) for word in again]) == 0
    assert "answers otherwise" not in capfd.readouterr().err
    assert load(tmp_path / "new").preprocess.size == 64
    assert main(["convert", str(tmp_path / "old"), str(tmp_path / "other"), "--image-size", "65"]) == 2
    assert "image_size 65 is no multiple of 8" in capfd.readouterr().err

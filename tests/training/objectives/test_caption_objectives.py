"""The two captioning objectives: presets, batches in pieces, saved models, pairs learned by heart."""

import math

import pytest
import torch
from steppers import stepper_for

from seesay.base.errors import UsageError
from seesay.base.records import Batch
from seesay.data.images import Preprocess
from seesay.data.tokenizer import CaptionTokenizer, pad
from seesay.model.bundle import Model
from seesay.model.hub import load_folder
from seesay.nets.architecture import Architecture, ConvNetConfig, TextTransformerConfig, VisionTransformerConfig
from seesay.nets.clip import build_clip
from seesay.nets.presets import preset
from seesay.training.objectives import OBJECTIVES

BOTH = ["caption", "bicaption"]
TINY = Architecture(
    embed_dim=12,
    image=VisionTransformerConfig(image_size=16, patch=8, width=16, layers=1, heads=2),
    text=TextTransformerConfig(vocab_size=40, context=8, width=16, layers=2, heads=2),
)

SMALL = Architecture(
    embed_dim=12,
    image=ConvNetConfig(image_size=16, width=16, depths=(1,)),
    text=TextTransformerConfig(vocab_size=40, context=8, width=32, layers=2, heads=2),
)


def test_heads_have_the_size_of_the_presets_text_tower():
    wide = preset("RN50")
    caption, bicaption = (OBJECTIVES[name].architecture(wide) for name in BOTH)
    assert (caption.text.kind, caption.text.layers, caption.text.heads, caption.embed_dim) == ("captioner", 12, 8, 2048)
    assert (bicaption.text.kind, bicaption.text.layers, bicaption.embed_dim) == ("bicaptioner", 1, 512)
    small = preset("conv-tiny")
    caption, bicaption = (OBJECTIVES[name].architecture(small) for name in BOTH)
    assert (caption.text.layers, caption.text.width, caption.embed_dim) == (4, 128, 512)
    assert (bicaption.text.layers, bicaption.embed_dim) == (1, 128)
    assert caption.image == bicaption.image == small.image


def test_a_mirrored_image_swaps_sides_for_bicaption_alone():
    assert OBJECTIVES["bicaption"].captions.draw(["on the left"], 0.0, is_mirrored=True) == "on the right"
    assert OBJECTIVES["caption"].captions.draw(["on the left"], 0.0, is_mirrored=True) == "on the left"


def batch(rows):
    generator = torch.Generator().manual_seed(3)
    return Batch(
        pixels_B3SS=torch.randint(0, 256, (rows, 3, 16, 16), dtype=torch.uint8, generator=generator),
        tokens=pad([[38, *range(2, 3 + row % 5), 10 + row, 39] for row in range(rows)]),
        sample_B=torch.arange(rows),
        image_id_B=torch.arange(rows),
        caption_id_B=torch.arange(rows),
    )


@pytest.mark.parametrize("name", BOTH)
def test_a_batch_in_pieces_has_the_gradients_of_the_whole_batch(name, monkeypatch):
    monkeypatch.setattr(Preprocess, "normalise", lambda self, pixels_B3SS: pixels_B3SS.double() / 255)
    clip = build_clip(OBJECTIVES[name].architecture(TINY), seed=0).double().train()
    found = []
    for micro_batch in (None, 4, 1):
        clip.zero_grad()
        loss, _ = stepper_for(clip, name, micro_batch=micro_batch).gradients(batch(10), [10], step=0)
        found.append([torch.tensor(loss), *(p.grad.clone() for p in clip.parameters())])
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", BOTH)
def test_an_untrained_model_expects_every_word_alike(name):
    clip = build_clip(OBJECTIVES[name].architecture(TINY), seed=0)
    directions = {"caption": 1, "bicaption": 2}[name]
    rows = batch(10)
    loss = float(clip(rows.pixels_B3SS.float() / 255, rows.tokens).loss_B.mean().detach())
    assert loss == pytest.approx(directions * math.log(40), rel=0.03)


@pytest.mark.parametrize("name", BOTH)
def test_a_saved_model_is_read_back_and_foreign_layouts_refuse_it(name, tmp_path):
    tokenizer = CaptionTokenizer([], context=8)
    text = TINY.text.model_copy(update={"vocab_size": tokenizer.vocab_size})
    architecture = OBJECTIVES[name].architecture(TINY.model_copy(update={"text": text}))
    model = Model(build_clip(architecture, seed=0), architecture, tokenizer, preprocess=Preprocess(size=16))
    model.save(tmp_path / "kept")
    again = load_folder(tmp_path / "kept")
    pixels, tokens = torch.randn(2, 3, 16, 16), tokenizer.tokens(["a", "b c"])
    with torch.no_grad():
        assert torch.equal(again.clip(pixels, tokens).loss_B, model.clip(pixels, tokens).loss_B)
    for layout in ("hf", "open_clip"):
        with pytest.raises(UsageError, match="save the model in the layout seesay"):
            model.save(tmp_path / layout, layout)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept"]


@pytest.mark.journey
@pytest.mark.parametrize("name", BOTH)
def test_64_pairs_are_learned_by_heart(name):
    """One caption per image, so that nothing is left to guess."""
    torch.manual_seed(0)
    colours = torch.randint(0, 256, (64, 3, 1, 1), dtype=torch.uint8)
    captions = [[38, 1 + row // 16, 10 + row // 4 % 4, 20 + row % 4, 39] for row in range(64)]
    pixels_B3SS = (colours.expand(-1, -1, 16, 16).int() + torch.randint(-5, 6, (64, 3, 16, 16))).clamp(0, 255)
    rows = torch.arange(64)
    pairs = Batch(
        pixels_B3SS=pixels_B3SS.byte(), tokens=pad(captions), sample_B=rows, image_id_B=rows, caption_id_B=rows
    )
    clip = build_clip(OBJECTIVES[name].architecture(SMALL), seed=0).train()
    optimizer = torch.optim.AdamW(clip.parameters(), lr=3e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=400, pct_start=0.1)
    stepper = stepper_for(clip, name)
    loss = math.inf
    for step in range(400):
        optimizer.zero_grad()
        loss, _ = stepper.gradients(pairs, [64], step=step)
        optimizer.step()
        schedule.step()
    assert loss < 0.1
    with torch.no_grad():
        clip.eval()
        read = clip.embed_images(stepper.preprocess.normalise(pairs.pixels_B3SS))
        assert (clip.log_likelihoods(read, clip.prepare(pairs.tokens)).argmax(1) == rows).all()

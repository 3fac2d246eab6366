"""The objectives that predict words: presets, batches in pieces, saved models, pairs learned by heart."""

import math
from copy import deepcopy

import pytest
import torch
from steppers import stepper_for

from seesay.base.records import Batch
from seesay.data.images import Preprocess
from seesay.data.tokenizer import CaptionTokenizer
from seesay.formulas.language import jelinek_mercer
from seesay.model.bundle import Model
from seesay.model.hub import load_folder
from seesay.nets.architecture import Architecture, ConvNetConfig, TextTransformerConfig
from seesay.nets.clip import CaptionPredictor, build_clip
from seesay.nets.presets import preset
from seesay.training.objectives import OBJECTIVES
from seesay.training.objectives.base import PLAIN

MASKED = ["masked-caption", "masked-caption-att-fc"]
ALL = ["bag-of-words", "n-grams", *MASKED]
ANIMALS = ["dog", "cat", "fish", "bird", "horse", "cow", "frog", "snake"]
COLOURS = ["red", "green", "blue", "black", "white", "grey", "brown", "golden"]
CAPTIONS = [f"a photo of a {colour} {animal}." for animal in ANIMALS for colour in COLOURS]
TOKENIZER = CaptionTokenizer.train(CAPTIONS, vocab_size=620, context=12)
TINY = Architecture(
    embed_dim=32,
    image=ConvNetConfig(image_size=16, width=16, depths=(1, 1)),
    text=TextTransformerConfig(vocab_size=TOKENIZER.vocab_size, context=12, width=32, layers=1, heads=2),
)


def model_of(name):
    clip = build_clip(OBJECTIVES[name].architecture(TINY), seed=0)
    assert isinstance(clip, CaptionPredictor)
    clip.head.fit_vocabulary(TOKENIZER(CAPTIONS), TOKENIZER.spellings())
    return clip.train()


def batch(rows):
    generator = torch.Generator().manual_seed(3)
    return Batch(
        pixels_B3SS=torch.randint(0, 256, (rows, 3, 16, 16), dtype=torch.uint8, generator=generator),
        tokens=TOKENIZER.tokens(CAPTIONS[:rows]),
        sample_B=torch.arange(rows),
        image_id_B=torch.arange(rows),
        caption_id_B=torch.arange(rows),
    )


@pytest.mark.parametrize("name", ALL)
def test_heads_fit_the_presets_and_class_names_stand_alone(name):
    for base in (preset("conv-tiny"), preset("RN50"), preset("ViT-B/32")):
        architecture = OBJECTIVES[name].architecture(base)
        assert architecture.image == base.image
        assert architecture.text.vocab_size == base.text.vocab_size
    assert OBJECTIVES[name].templates == PLAIN


@pytest.mark.parametrize("name", ALL)
def test_a_batch_in_pieces_has_the_gradients_of_the_whole_batch(name):
    # As a validated model, so that BatchNorm does not see which rows are together; heads draw their masks as always.
    clip = model_of(name).eval()
    clip.head.train()
    found = []
    for micro_batch in (None, 4, 1):
        clip.zero_grad()
        loss, _ = stepper_for(clip, name, micro_batch=micro_batch).gradients(batch(10), [10], step=0)
        gradients = [deepcopy(parameter.grad) for parameter in clip.parameters()]
        found.append([torch.tensor(loss), *gradients])
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_images_of_any_side_and_bfloat16_are_taken(name):
    clip, tokens = model_of(name), TOKENIZER.tokens(CAPTIONS[:4])
    for side in (16, 24):
        pixels = torch.randn(4, 3, side, side)
        exact = clip(pixels, tokens).loss_B
        with torch.autocast("cpu", torch.bfloat16):
            rough = clip(pixels, tokens).loss_B
        assert rough.dtype == torch.float32 and exact.isfinite().all()
        if name not in MASKED:
            assert torch.allclose(rough, exact, rtol=0.02)


@pytest.mark.parametrize("name", ALL)
def test_a_saved_model_is_read_back_with_the_words_it_knows(name, tmp_path):
    clip = model_of(name).eval()
    architecture = OBJECTIVES[name].architecture(TINY)
    Model(clip, architecture, TOKENIZER, preprocess=Preprocess(size=16)).save(tmp_path / "kept")
    again = load_folder(tmp_path / "kept").clip
    pixels, tokens = torch.randn(2, 3, 16, 16), TOKENIZER.tokens(["a red dog", "fish"])
    with torch.no_grad():
        assert torch.equal(again(pixels, tokens).loss_B, clip(pixels, tokens).loss_B)


def lowest(name, clip, tokens):
    """The loss that no model can go below, if images tell it all there is to know."""
    if name == "bag-of-words":
        return math.log(6)  # the six different words of every caption share the probability
    if name in MASKED:
        return 0.0
    # Every run that is known can be certain, but the single words share the probability, as well as they may.
    run_NBK, has_context_NBK, is_word_BK = clip.head._runs(tokens)
    assert is_word_BK.sum(1).eq(7).all()
    chosen_BV = torch.zeros(len(tokens.ids_BL), TOKENIZER.vocab_size, requires_grad=True)
    optimizer = torch.optim.Adam([chosen_BV], lr=0.1)
    loss = torch.tensor(0.0)
    for _ in range(200):
        optimizer.zero_grad()
        single_BK = chosen_BV.log_softmax(1).gather(1, run_NBK[0])
        certain_NBK = torch.zeros(len(run_NBK) - 1, *single_BK.shape)
        certain_NBK[run_NBK[1:] < 0] = -math.inf
        log_p_BK = jelinek_mercer(torch.cat([single_BK[None], certain_NBK]), has_context_NBK, share=0.2)
        loss = -(log_p_BK * is_word_BK).sum(1).div(7).mean()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


@pytest.mark.journey
@pytest.mark.parametrize("name", ALL)
def test_64_pairs_are_learned_by_heart(name):
    clip, pairs = model_of(name), batch(64)
    minimum_loss = lowest(name, clip, pairs.tokens)
    optimizer = torch.optim.AdamW(clip.parameters(), lr=3e-3, weight_decay=0.0)
    stepper = stepper_for(clip, name)
    losses = []
    for step in range(200):
        optimizer.zero_grad()
        losses.append(stepper.gradients(pairs, [64], step=step)[0])
        optimizer.step()
    print(name, "first", losses[0], "last", losses[-1], "floor", minimum_loss)
    assert minimum_loss - 0.01 < losses[-1] < minimum_loss + 0.03 * (losses[0] - minimum_loss)

"""The towers against plain float64 formulas, and the paper's sizes against its parameter counts."""

import math

import numpy as np
import pytest
import torch

from seesay.base.errors import UsageError
from seesay.base.records import Tokens
from seesay.nets.architecture import BagOfWordsConfig, ConvNetConfig, TextTransformerConfig, VisionTransformerConfig
from seesay.nets.clip import LOGIT_SCALE_MAX, DualEncoder, build_clip, empty_clip
from seesay.nets.convolutional import ConvNet
from seesay.nets.presets import PRESETS, preset
from seesay.nets.text import BagOfWords, TextTransformer
from seesay.nets.vit import VisionTransformer

# Image, text and all parameters of the paper's nine sizes (its tables 19 and 20, and the released code).
PAPER_COUNTS = {
    "RN50": (38_316_896, 63_690_240, 102_007_137),
    "RN101": (56_259_936, 63_428_096, 119_688_033),
    "RN50x4": (87_137_080, 91_163_520, 178_300_601),
    "RN50x16": (167_328_912, 123_650_304, 290_979_217),
    "RN50x64": (420_380_352, 202_877_952, 623_258_305),
    "ViT-B/32": (87_849_216, 63_428_096, 151_277_313),
    "ViT-B/16": (86_192_640, 63_428_096, 149_620_737),
    "ViT-L/14": (303_966_208, 123_650_304, 427_616_513),
    "ViT-L/14@336": (304_293_888, 123_650_304, 427_944_193),
}


def layer_norm(x, weight, bias):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias


def attention(x, w, prefix, heads, *, causal):
    """One image or caption at a time, one head at a time."""
    q, k, v = np.split(x @ w[f"{prefix}qkv.weight"].T + w[f"{prefix}qkv.bias"], 3, axis=-1)
    splitmix64 = np.empty_like(q)
    width = q.shape[-1] // heads
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        scores = q[:, part] @ k[:, part].T / math.sqrt(width)
        if causal:
            scores = np.where(np.tril(np.ones_like(scores)) > 0, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        splitmix64[:, part] = weights / weights.sum(-1, keepdims=True) @ v[:, part]
    return splitmix64 @ w[f"{prefix}out.weight"].T + w[f"{prefix}out.bias"]


def block(x, w, prefix, heads, *, causal):
    normed = layer_norm(x, w[f"{prefix}ln_1.weight"], w[f"{prefix}ln_1.bias"])
    x = x + attention(normed, w, f"{prefix}attention.", heads, causal=causal)
    hidden = layer_norm(x, w[f"{prefix}ln_2.weight"], w[f"{prefix}ln_2.bias"])
    hidden = hidden @ w[f"{prefix}fc.weight"].T + w[f"{prefix}fc.bias"]
    hidden = hidden / (1 + np.exp(-1.702 * hidden))
    return x + hidden @ w[f"{prefix}proj.weight"].T + w[f"{prefix}proj.bias"]


def numbers(module):
    """The module's tensors in float64, moved away from their starting values so that no norm is the identity."""
    torch.manual_seed(7)
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return {name: tensor.double().numpy() for name, tensor in module.state_dict().items()}


@torch.no_grad()
def test_vision_transformer_equals_the_written_out_formula_in_float64():
    config = VisionTransformerConfig(image_size=16, patch=8, width=32, layers=2, heads=4)
    tower = VisionTransformer(config, 24).double()
    w = numbers(tower)
    pixels = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    expected = []
    for image in pixels.numpy():
        patches = [image[:, y : y + 8, x : x + 8].ravel() for y in (0, 8) for x in (0, 8)]
        x = np.stack([w["class_token"], *(w["patches.weight"].reshape(32, -1) @ patch for patch in patches)])
        x = layer_norm(x + w["positions"], w["ln_pre.weight"], w["ln_pre.bias"])
        for index in range(2):
            x = block(x, w, f"blocks.{index}.", 4, causal=False)
        expected.append(layer_norm(x[0], w["ln_post.weight"], w["ln_post.bias"]) @ w["projection"])
    np.testing.assert_allclose(tower(pixels).numpy(), np.stack(expected), rtol=0, atol=1e-10)


@torch.no_grad()
def test_text_transformer_equals_the_written_out_formula_for_every_caption_alone():
    config = TextTransformerConfig(context=8, vocab_size=50, width=32, layers=2, heads=4)
    tower = TextTransformer(config, 24).double()
    w = numbers(tower)
    captions = [[48, 5, 6, 7, 49], [48, 9, 49], [48, 1, 2, 3, 4, 5, 6, 49]]
    expected = []
    for ids in captions:
        x = w["token_embedding.weight"][ids] + w["positions"][: len(ids)]
        for index in range(2):
            x = block(x, w, f"blocks.{index}.", 4, causal=True)
        expected.append(layer_norm(x, w["ln_final.weight"], w["ln_final.bias"])[-1] @ w["projection"])
    tokens = Tokens(
        ids_BL=torch.tensor([ids + [0] * (8 - len(ids)) for ids in captions]),
        length_B=torch.tensor([len(ids) for ids in captions]),
    )
    np.testing.assert_allclose(tower(tokens).numpy(), np.stack(expected), rtol=0, atol=1e-10)


@torch.no_grad()
def test_bag_of_words_sees_neither_order_nor_padding():
    tower = BagOfWords(BagOfWordsConfig(context=8, vocab_size=50, width=16), 8).double()
    w = numbers(tower)
    ids = torch.tensor([[48, 5, 6, 7, 49, 0, 0], [48, 7, 5, 6, 49, 3, 3]])
    both = tower(Tokens(ids_BL=ids, length_B=torch.tensor([5, 5])))
    mean = w["token_embedding.weight"][[48, 5, 6, 7, 49]].mean(0)
    expected = layer_norm(mean, w["ln_final.weight"], w["ln_final.bias"]) @ w["projection"]
    np.testing.assert_allclose(both.numpy(), np.stack([expected, expected]), rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("size", [32, 40, 47, 48, 64])
def test_conv_tower_takes_any_size_and_its_blocks_start_as_their_shortcut(size):
    tower = ConvNet(ConvNetConfig(image_size=48, width=16, depths=(1, 2, 1)), 24).eval()
    pixels = torch.randn(2, 3, size, size)
    assert tower(pixels).shape == (2, 24)
    plain = tower.blocks[1]
    x = torch.relu(torch.randn(2, 32, 6, 6))
    assert torch.equal(tower.blocks[2](x), x)
    assert isinstance(plain.shortcut[0], torch.nn.AvgPool2d)


@pytest.mark.parametrize("name", PAPER_COUNTS)
def test_paper_sizes_have_the_papers_parameter_counts(name):
    clip = empty_clip(preset(name))
    image, text = (sum(p.numel() for p in tower.parameters()) for tower in (clip.image_tower, clip.text_tower))
    assert (image, text, image + text + 1) == PAPER_COUNTS[name]


@pytest.mark.journey
def test_every_preset_embeds_pixels_and_words_as_unit_rows():
    for name, architecture in PRESETS.items():
        if name in PAPER_COUNTS:
            continue
        clip = build_clip(architecture, seed=0).eval()
        side = architecture.image.image_size
        tokens = Tokens(ids_BL=torch.tensor([[1, 2, 3], [1, 3, 0]]), length_B=torch.tensor([3, 2]))
        embedded = clip(torch.randn(2, 3, side, side), tokens)
        for rows in (embedded.image_BD, embedded.text_BD):
            assert rows.shape == (2, architecture.embed_dim)
            torch.testing.assert_close(rows.norm(dim=1), torch.ones(2))


def test_weights_depend_on_the_seed_alone_and_leave_the_global_state():
    architecture = preset("conv-tiny")
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = build_clip(architecture, seed=3).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    second = build_clip(architecture, seed=3).state_dict()
    other = build_clip(architecture, seed=4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["image_tower.projection"], other["image_tower.projection"])


def test_initial_spread_is_the_papers():
    config = TextTransformerConfig(context=77, vocab_size=4000, width=128, layers=4, heads=2)
    torch.manual_seed(0)
    tower = TextTransformer(config, 128)
    first = tower.blocks[0]
    expected = {
        tower.token_embedding.weight: 0.02,
        tower.positions: 0.01,
        first.attention.qkv.weight: 128**-0.5,
        first.attention.out.weight: 128**-0.5 * 8**-0.5,
        first.fc.weight: 256**-0.5,
        first.proj.weight: 128**-0.5 * 8**-0.5,
        tower.projection: 128**-0.5,
    }
    for parameter, spread in expected.items():
        assert parameter.std().item() == pytest.approx(spread, rel=0.05)
    vit = VisionTransformer(VisionTransformerConfig(image_size=64, patch=8, width=128, layers=1, heads=2), 64)
    assert vit.positions.std().item() == pytest.approx(128**-0.5, rel=0.05)
    assert vit.blocks[0].attention.qkv.weight.abs().max().item() <= math.sqrt(6 / (128 * 4))


def test_logit_scale_starts_at_the_papers_value_and_is_held_at_one_hundred():
    clip = DualEncoder(torch.nn.Identity(), torch.nn.Identity())
    assert clip.logit_scale.item() == pytest.approx(2.659260)
    assert not clip.hold_logit_scale()
    clip.logit_scale.data.fill_(5.0)
    assert clip.hold_logit_scale()
    assert clip.logit_scale.item() == pytest.approx(LOGIT_SCALE_MAX)
    assert clip.logit_scale.exp().item() == pytest.approx(100, rel=1e-6)


def test_unknown_size_names_the_nearest():
    with pytest.raises(UsageError, match="ViT-B/32"):
        preset("ViT-B/23")

"""VirTex's head, told by torch's own decoder layer, each caption by itself in float64."""

import pytest
import torch
from torch import nn

from seesay.base.records import Tokens
from seesay.data.tokenizer import pad
from seesay.nets import bicaptioner, decoder
from seesay.nets.architecture import (
    Architecture,
    BicaptionerConfig,
    ConvNetConfig,
    ResNetConfig,
    VisionTransformerConfig,
)
from seesay.nets.clip import build_clip

START, END = 48, 49
CONFIG = BicaptionerConfig(context=10, vocab_size=50, width=32, layers=1, heads=4)
IMAGES = [
    ConvNetConfig(image_size=32, width=8, depths=(1, 1)),
    ResNetConfig(image_size=32, width=8, layers=(1, 1, 1, 1), heads=4),
    VisionTransformerConfig(image_size=16, patch=8, width=16, layers=1, heads=2),
]
CAPTIONS = [[START, 5, 6, 7, END], [START, 9, END], [START, 1, 2, 3, 4, 5, 6, END], [START, END], [START, 8, END]]
NAMES = [[1], [2], [3], [1, 2], [2, 3], [4, 4], [5], [6], [7, 1], [8], [8, 9], [9]]
PROMPTS = [[START, 10, 11, *name, END] for name in NAMES] + [[START, 10, 12, *name, 13, END] for name in NAMES]


@pytest.fixture(params=[1, 2])
def head(request):
    torch.manual_seed(0)
    head = bicaptioner.Bicaptioner(CONFIG.model_copy(update={"layers": request.param}), 32).double().eval()
    # As after some training: nothing is near 0, and the decoders differ.
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.3)
    return head


def grids(count):
    return torch.randn(count, 6, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def torch_layer(layer):
    theirs = nn.TransformerDecoderLayer(32, 4, 128, dropout=0.0, activation="gelu", batch_first=True).double()
    ours = layer.state_dict()
    links = {
        "self_attn.in_proj_{}": ["attention.qkv"],
        "self_attn.out_proj.{}": ["attention.out"],
        "multihead_attn.in_proj_{}": ["query", "key_value"],
        "multihead_attn.out_proj.{}": ["seen"],
        "linear1.{}": ["fc"],
        "linear2.{}": ["proj"],
        **{f"norm{index}.{{}}": [f"ln_{index}"] for index in (1, 2, 3)},
    }
    theirs.load_state_dict(
        {
            name.format(kind): torch.cat([ours[f"{part}.{kind}"] for part in parts])
            for name, parts in links.items()
            for kind in ("weight", "bias")
        }
    )
    return theirs


def log_probabilities(head, layers, grid_GW, ids):
    x = head.ln_embedding(head.token_embedding.weight[ids[:-1]] + head.positions[: len(ids) - 1])[None]
    mask = nn.Transformer.generate_square_subsequent_mask(len(ids) - 1, dtype=torch.float64)
    for layer in layers:
        x = torch_layer(layer)(x, grid_GW[None], tgt_mask=mask)
    logits = x[0] @ head.token_embedding.weight.T + head.bias
    return logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def both_ways(head, grid_GW, ids):
    return log_probabilities(head, head.forwards, grid_GW, ids), log_probabilities(
        head, head.backwards, grid_GW, ids[::-1]
    )


def test_the_loss_is_the_sum_of_both_directions_means(head):
    grid_BGW = grids(len(CAPTIONS))
    plain = [-sum(way.mean() for way in both_ways(head, *pair)) for pair in zip(grid_BGW, CAPTIONS, strict=True)]
    torch.testing.assert_close(head.losses(grid_BGW, pad(CAPTIONS)), torch.stack(plain), rtol=0, atol=1e-11)


@pytest.mark.journey
@pytest.mark.parametrize("texts", [PROMPTS, CAPTIONS, [[START, END]]], ids=len)
def test_likelihoods_with_shared_work_are_those_of_each_prompt_by_itself(head, texts, monkeypatch):
    grid_BGW = grids(2)
    with torch.no_grad():
        plain = [[sum(way.sum() for way in both_ways(head, grid, ids)) for ids in texts] for grid in grid_BGW]
        shared = head.log_likelihoods(grid_BGW, head.prepare(pad(texts)))
        monkeypatch.setattr(decoder, "TEXTS_AT_ONCE", 9)
        monkeypatch.setitem(decoder.BYTES_AT_ONCE, "cpu", 1 << 16)
        in_blocks = head.log_likelihoods(grid_BGW, head.prepare(pad(texts)))
    torch.testing.assert_close(shared, torch.tensor(plain, dtype=torch.float64), rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(in_blocks, shared, rtol=1e-12, atol=1e-10)


def test_neither_direction_sees_its_own_future(head, monkeypatch):
    words, hidden = [], []
    monkeypatch.setattr(
        bicaptioner, "mean_losses", lambda hidden_NW, *_, **__: hidden.append(hidden_NW) or hidden_NW.sum()
    )
    head.token_embedding.register_forward_hook(lambda module, inputs, output: words.append(output))
    head.losses(grids(1), pad([[START, 1, 2, 3, 4, 5, END]]))
    for way in range(2):
        for place in range(6):
            (gradient,) = torch.autograd.grad(hidden[way][place].sin().sum(), words[way], retain_graph=True)
            assert (gradient[0].abs().sum(1) > 0).tolist() == [index <= place for index in range(6)]
    head.losses(grids(1), pad([[START, 1, 2, 7, 4, 5, END]]))
    # Forwards 7 is read at place 3; backwards, behind the end token, 5 and 4, as well.
    for before, after in (hidden[0::2], hidden[1::2]):
        assert torch.equal(before[:3], after[:3])
        assert not torch.isclose(before[3:], after[3:]).all(1).any()


def test_captions_are_turned_with_both_their_special_tokens():
    turned = bicaptioner.reversed_tokens(pad([[START, 1, 2, END], [START, END], [START, 3, END]]))
    assert turned.ids_BL.tolist() == [[END, 2, 1, START], [END, START, 0, 0], [END, 3, START, 0]]
    assert turned.length_B.tolist() == [4, 2, 3]


def test_directions_start_alike_and_share_what_stands_around_them():
    torch.manual_seed(0)
    head = bicaptioner.Bicaptioner(CONFIG, 32)
    assert all(map(torch.equal, head.forwards.state_dict().values(), head.backwards.state_dict().values()))
    assert head.forwards[0].fc.weight is not head.backwards[0].fc.weight
    assert {name.split(".")[0] for name, _ in head.named_parameters()} == {
        *("token_embedding", "positions", "ln_embedding", "bias", "forwards", "backwards")
    }
    matrices = [parameter for parameter in head.parameters() if parameter.ndim > 1]
    assert all(abs(float(matrix.detach().std()) - 0.02) < 0.002 for matrix in matrices)


def test_no_images_give_no_rows(head):
    none = Tokens(ids_BL=torch.ones(0, 3, dtype=torch.int64), length_B=torch.ones(0, dtype=torch.int64))
    assert head.losses(grids(0), none).shape == (0,)
    assert head.log_likelihoods(grids(0), head.prepare(pad(PROMPTS))).shape == (0, 24)


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.kind)
def test_the_built_model_learns_in_bfloat16(image):
    architecture = Architecture(embed_dim=32, image=image, text=CONFIG)
    clip = build_clip(architecture, seed=0)
    assert all(map(torch.equal, clip.state_dict().values(), build_clip(architecture, seed=0).state_dict().values()))
    side = 40 if image.kind == "conv" else image.image_size
    pixels = torch.randn(len(CAPTIONS), 3, side, side)
    whole = clip(pixels, pad(CAPTIONS)).loss_B
    with torch.autocast("cpu", torch.bfloat16):
        loss_B = clip(pixels, pad(CAPTIONS)).loss_B
        scores = clip.log_likelihoods(clip.embed_images(pixels), clip.prepare(pad(PROMPTS)))
    torch.testing.assert_close(loss_B, whole, rtol=0.02, atol=0)
    assert loss_B.dtype == torch.float32 and scores.shape == (5, 24)
    loss_B.mean().backward()
    assert all(parameter.grad is not None for parameter in clip.parameters() if parameter.requires_grad)

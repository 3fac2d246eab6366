"""SigLIP's towers against plain float64 formulas, one image or caption and one head at a time."""

import math

import numpy as np
import pytest
import torch

from seesay.base.errors import UsageError
from seesay.base.records import Tokens
from seesay.nets.architecture import Architecture, ConvNetConfig, SiglipImageConfig, SiglipTextConfig
from seesay.nets.clip import build_clip
from seesay.nets.siglip import SiglipImage, SiglipText

IMAGE = SiglipImageConfig(width=32, layers=2, heads=4, image_size=18, patch=8, mlp_width=50)
TEXT = SiglipTextConfig(width=24, layers=2, heads=3, context=6, vocab_size=11, pad=7)


def moved(tower):
    """The tower, no norm the identity any more, and its weights in float64."""
    generator = torch.Generator().manual_seed(0)
    for tensor in tower.state_dict().values():
        tensor += 0.2 * torch.randn(tensor.shape, generator=generator)
    return tower.eval(), {name: tensor.double().numpy() for name, tensor in tower.state_dict().items()}


def layer_norm(x, w, name):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x, w, name, rows=slice(None)):
    return x @ w[f"{name}.weight"][rows].T + w[f"{name}.bias"][rows]


def mlp(x, w, prefix):
    hidden = linear(x, w, f"{prefix}fc")
    hidden = 0.5 * hidden * (1 + np.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
    return linear(hidden, w, f"{prefix}proj")


def attend(q, k, v, heads):
    splitmix64, width = np.empty_like(q), q.shape[-1] // heads
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        weights = np.exp(q[:, part] @ k[:, part].T / math.sqrt(width))
        splitmix64[:, part] = weights / weights.sum(-1, keepdims=True) @ v[:, part]
    return splitmix64


def blocks(x, w, config):
    for index in range(config.layers):
        prefix = f"blocks.{index}."
        qkv = linear(layer_norm(x, w, f"{prefix}ln_1"), w, f"{prefix}attention.qkv")
        x = x + linear(attend(*np.split(qkv, 3, axis=-1), config.heads), w, f"{prefix}attention.out")
        x = x + mlp(layer_norm(x, w, f"{prefix}ln_2"), w, prefix)
    return x


def image_written_out(pixels_3SS, w):
    patches = []
    for down in range(2):
        for right in range(2):
            patch = pixels_3SS[:, 8 * down : 8 * down + 8, 8 * right : 8 * right + 8]
            patches.append((w["patches.weight"] * patch).sum((1, 2, 3)) + w["patches.bias"])
    x = layer_norm(blocks(np.array(patches) + w["positions"], w, IMAGE), w, "ln_post")
    width = IMAGE.width
    query = linear(w["head.probe"][0], w, "head.qkv", slice(0, width))
    key, value = (linear(x, w, "head.qkv", slice(i * width, (i + 1) * width)) for i in (1, 2))
    pooled = linear(attend(query, key, value, IMAGE.heads), w, "head.out")
    return (pooled + mlp(layer_norm(pooled, w, "head.ln"), w, "head."))[0]


def test_the_image_tower_equals_the_written_out_formula_and_leaves_the_edge_out():
    tower, w = moved(SiglipImage(IMAGE, 32))
    pixels = torch.randn(3, 3, 18, 18, generator=torch.Generator().manual_seed(1))
    wanted = np.array([image_written_out(image, w) for image in pixels.double().numpy()])
    np.testing.assert_allclose(tower(pixels).detach().numpy(), wanted, atol=2e-5)
    pixels[:, :, 16:, :] = 9.0
    np.testing.assert_allclose(tower(pixels).detach().numpy(), wanted, atol=2e-5)


def test_the_text_tower_sees_padding_up_to_the_context_and_pools_the_last_position():
    tower, w = moved(SiglipText(TEXT, 32))
    captions = [[3, 4, 1], [1], [5, 6, 2, 8, 9, 1]]
    wanted = []
    for caption in captions:
        ids = caption + [TEXT.pad] * (TEXT.context - len(caption))
        x = blocks(w["token_embedding.weight"][ids] + w["positions"], w, TEXT)
        wanted.append(linear(layer_norm(x[-1], w, "ln_final"), w, "head"))
    length_B = torch.tensor([len(caption) for caption in captions])
    ids_BL = torch.tensor([caption + [0] * (6 - len(caption)) for caption in captions])
    np.testing.assert_allclose(tower(Tokens(ids_BL=ids_BL, length_B=length_B)).detach().numpy(), wanted, atol=2e-5)
    # Whatever a batch was padded with, and however far.
    short = Tokens(ids_BL=torch.tensor([[3, 4, 1], [1, 10, 10]]), length_B=length_B[:2])
    np.testing.assert_allclose(tower(short).detach().numpy(), wanted[:2], atol=2e-5)


def test_recomputed_blocks_give_the_same_gradient():
    tower, _ = moved(SiglipImage(IMAGE, 32))
    pixels = torch.randn(2, 3, 18, 18, generator=torch.Generator().manual_seed(1))
    kept = torch.autograd.grad(tower(pixels).square().sum(), tower.positions)[0]
    tower.blocks.recompute = True
    assert torch.equal(torch.autograd.grad(tower(pixels).square().sum(), tower.positions)[0], kept)


def architecture(**change) -> Architecture:
    return Architecture(**{"embed_dim": 32, "image": IMAGE, "text": TEXT, "scoring": "sigmoid"} | change)


def test_sigmoid_models_have_a_bias_and_a_free_scale_and_others_have_neither():
    clip = build_clip(architecture(), seed=0)
    assert clip.logit_scale.exp().item() == pytest.approx(10) and clip.logit_bias.item() == -10
    clip.logit_scale.data.fill_(5.0)
    assert not clip.hold_logit_scale() and clip.logit_scale.item() == 5.0
    embedded = clip(torch.zeros(1, 3, 18, 18), Tokens(ids_BL=torch.tensor([[1]]), length_B=torch.tensor([1])))
    assert embedded.bias is clip.logit_bias
    softmax = build_clip(architecture(scoring="softmax"), seed=0)
    assert softmax.logit_bias is None and "logit_bias" not in softmax.state_dict()
    assert "logit_bias" not in dict(softmax.named_parameters())


def test_the_description_of_a_softmax_model_is_what_it_was_before_there_was_another_scoring():
    described = architecture(scoring="softmax").model_dump(mode="json")
    assert list(described) == ["embed_dim", "image", "text"]
    assert Architecture.model_validate_json(architecture().model_dump_json()) == architecture()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: architecture(embed_dim=24), "embed_dim is 24, and a siglip-image tower gives its own width, 32"),
        (lambda: SiglipImageConfig(width=32, layers=1, heads=4, image_size=8, patch=9), "patch 9 is larger"),
        (lambda: SiglipTextConfig(width=24, layers=1, heads=3, context=6, vocab_size=5, pad=5), "pad 5 is none of"),
    ],
)
def test_what_does_not_fit_together_is_refused(make, told):
    with pytest.raises(UsageError, match=told):
        make()


def test_the_scoring_is_free_of_the_towers():
    image = ConvNetConfig(image_size=16, width=8, depths=(1,))
    assert build_clip(architecture(image=image, embed_dim=8), seed=0).logit_bias is not None


def test_random_weights_start_as_in_the_released_code():
    torch.manual_seed(0)
    config = SiglipImageConfig(width=128, layers=1, heads=2, image_size=64, patch=8)
    tower = SiglipImage(config, 128)
    assert tower.positions.std().item() == pytest.approx(128**-0.5, rel=0.05)
    assert tower.patches.weight.std().item() == pytest.approx(192**-0.5, rel=0.05)
    for linear_layer in (tower.blocks[0].attention.qkv, tower.head.qkv, tower.blocks[0].attention.out):
        assert linear_layer.weight.abs().max().item() == pytest.approx(math.sqrt(6 / 256), rel=0.01)
        assert linear_layer.bias.abs().max().item() == 0

"""The captioning head: what it gives, told by decoding each caption by itself in float64."""

import pytest
import torch
import torch.nn.functional as F

from seesay.base.records import Tokens
from seesay.data.tokenizer import pad
from seesay.nets import captioner, decoder
from seesay.nets.architecture import Architecture, CaptionerConfig, ConvNetConfig
from seesay.nets.clip import build_clip
from seesay.nets.head import Head

START, END = 48, 49
CONFIG = CaptionerConfig(context=10, vocab_size=50, width=32, layers=2, heads=4)
ARCHITECTURE = Architecture(embed_dim=128, image=ConvNetConfig(image_size=32, width=8, depths=(1, 1)), text=CONFIG)
CAPTIONS = [[START, 5, 6, 7, END], [START, 9, END], [START, 1, 2, 3, 4, 5, 6, END], [START, END], [START, 8, END]]
NAMES = [[1], [2], [3], [1, 2], [2, 3], [4, 4], [5], [6], [7, 1], [8], [8, 9], [9]]
PROMPTS = [[START, 10, 11, *name, END] for name in NAMES] + [[START, 10, 12, *name, 13, END] for name in NAMES]


@pytest.fixture
def head():
    torch.manual_seed(0)
    return captioner.Captioner(CONFIG, 128).double().eval()


def images(count):
    return torch.randn(count, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def log_probabilities(head, image_D, ids):
    """Of each token but the first, worked out alone, with a mask and a whole softmax."""
    x = torch.cat([image_D.view(4, 32), head.token_embedding.weight[ids[:-1]]])
    x = x + head.positions[: len(x)]
    future = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
    for block in head.blocks:
        query, key, value = block.attention.qkv(block.ln_1(x)).unflatten(1, (3, 4, 8)).permute(1, 2, 0, 3)
        weights = (query @ key.mT / 8**0.5).masked_fill(future, -torch.inf).softmax(-1)
        x = x + block.attention.out((weights @ value).transpose(0, 1).flatten(1))
        inner = block.fc(block.ln_2(x))
        x = x + block.proj(inner * torch.sigmoid(1.702 * inner))
    logits = F.layer_norm(x, (32,), head.ln_final.weight, head.ln_final.bias)[4:] @ head.token_embedding.weight.T
    return logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def test_the_loss_is_the_mean_over_the_tokens_behind_the_start_token(head):
    image_BD = images(len(CAPTIONS))
    plain = [-log_probabilities(head, *pair).mean() for pair in zip(image_BD, CAPTIONS, strict=True)]
    torch.testing.assert_close(head.losses(image_BD, pad(CAPTIONS)), torch.stack(plain), rtol=0, atol=1e-12)


def test_captions_together_have_the_gradients_of_captions_alone(head):
    image_BD = images(len(CAPTIONS))
    head.losses(image_BD, pad(CAPTIONS)).sum().backward()
    together = {name: parameter.grad.clone() for name, parameter in head.named_parameters()}
    head.zero_grad()
    for row, caption in zip(image_BD, CAPTIONS, strict=True):
        head.losses(row[None], pad([caption])).sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad.abs().sum() > 0
        torch.testing.assert_close(together[name], parameter.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("texts", [PROMPTS, CAPTIONS, [[START, END]], [[START, 1, END]] * 9], ids=len)
def test_likelihoods_with_shared_work_are_those_of_each_prompt_by_itself(head, texts):
    image_BD = images(2)
    with torch.no_grad():
        plain = [[log_probabilities(head, row, ids).sum() for ids in texts] for row in image_BD]
        shared = head.log_likelihoods(image_BD, head.prepare(pad(texts)))
    torch.testing.assert_close(shared, torch.tensor(plain, dtype=torch.float64), rtol=0, atol=1e-10)


@pytest.mark.parametrize("layers", [1, 3])
def test_the_image_and_beginnings_in_common_are_worked_on_once_per_layer(layers):
    torch.manual_seed(0)
    head = captioner.Captioner(CONFIG.model_copy(update={"layers": layers}), 128)
    rows = []
    for block in head.blocks:
        block.fc.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    with torch.no_grad():
        head.log_likelihoods(images(3).float(), head.prepare(pad(PROMPTS)))
    # Behind 4 rows of the image: the start token and 10, 11 and 12 once, then 17 tokens of names after each of the
    # two beginnings, after the second of which 13 follows 12 times.
    assert rows == [3 * (4 + 2 + 2 + 17 + 17 + 12)] * layers


def test_blocks_of_any_size_give_the_same_likelihoods_and_bound_the_logits(head, monkeypatch):
    image_BD = images(2)
    whole = head.log_likelihoods(image_BD, head.prepare(pad(PROMPTS)))
    monkeypatch.setattr(decoder, "TEXTS_AT_ONCE", 17)
    monkeypatch.setitem(decoder.BYTES_AT_ONCE, "cpu", 50 * 8 * 3)
    seen, linear = [], F.linear

    def watched(*arguments):
        logits = linear(*arguments)
        if logits.shape[-1] == 50:
            seen.append(len(logits))
        return logits

    monkeypatch.setattr(F, "linear", watched)
    torch.testing.assert_close(head.log_likelihoods(image_BD, head.prepare(pad(PROMPTS))), whole, rtol=0, atol=1e-11)
    assert max(seen) == 3


def test_no_prediction_knows_of_its_own_token_or_a_later_one(head, monkeypatch):
    seen = {}
    monkeypatch.setattr(captioner, "mean_losses", lambda hidden_NW, location_N, *_, **__: seen.update(hidden=hidden_NW))
    head.token_embedding.register_forward_hook(lambda module, inputs, output: seen.update(words=output))
    caption = [START, 1, 2, 3, 4, 5, END]
    head.losses(images(1), pad([caption]))
    before = seen["hidden"].detach()
    for place in range(6):
        (gradient,) = torch.autograd.grad(seen["hidden"][place].sin().sum(), seen["words"], retain_graph=True)
        is_seen = gradient[0].abs().sum(1) > 0
        assert is_seen.tolist() == [index <= place for index in range(6)]
    head.losses(images(1), pad([[START, 1, 2, 7, 4, 5, END]]))
    assert torch.equal(seen["hidden"][:3], before[:3])
    assert not torch.isclose(seen["hidden"][3:], before[3:]).all(1).any()


def test_every_image_token_matters(head):
    image_BD = images(1).requires_grad_()
    head.losses(image_BD, pad(CAPTIONS[:1])).sum().backward()
    assert (image_BD.grad.view(4, 32).abs().sum(1) > 0).all()


def test_no_images_give_no_rows(head):
    none = Tokens(ids_BL=torch.ones(0, 3, dtype=torch.int64), length_B=torch.ones(0, dtype=torch.int64))
    assert head.losses(images(0), none).shape == (0,)
    assert head.log_likelihoods(images(0), head.prepare(pad(PROMPTS))).shape == (0, 24)


def test_the_built_model_learns_in_bfloat16_at_any_size():
    clip = build_clip(ARCHITECTURE, seed=0)
    assert isinstance(clip.text_tower, Head)
    assert all(map(torch.equal, clip.state_dict().values(), build_clip(ARCHITECTURE, seed=0).state_dict().values()))
    pixels = torch.randn(len(CAPTIONS), 3, 24, 24)
    whole = clip(pixels, pad(CAPTIONS)).loss_B
    with torch.autocast("cpu", torch.bfloat16):
        loss_B = clip(pixels, pad(CAPTIONS)).loss_B
        scores = clip.log_likelihoods(clip.embed_images(pixels), clip.prepare(pad(PROMPTS)))
    torch.testing.assert_close(loss_B, whole, rtol=0.02, atol=0)
    assert loss_B.dtype == torch.float32 and scores.shape == (5, 24)
    loss_B.mean().backward()
    assert all(parameter.grad is not None for parameter in clip.parameters())

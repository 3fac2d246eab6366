"""Packed captions, dropped patches, recomputed blocks: less work, the same numbers."""

import sys

import pytest
import torch

from seesay.base.records import Tokens
from seesay.nets.architecture import TextTransformerConfig, VisionTransformerConfig
from seesay.nets.packing import Group, pack, pack_shared
from seesay.nets.text import TextTransformer
from seesay.nets.vit import VisionTransformer

TEXT = TextTransformerConfig(context=8, vocab_size=50, width=32, layers=2, heads=4)
IMAGE = VisionTransformerConfig(image_size=32, patch=8, width=32, layers=2, heads=4)
CAPTIONS = [[48, 5, 6, 7, 49], [48, 9, 49], [48, 1, 2, 3, 4, 5, 6, 49], [48, 8, 49], [48, 49]]


def tokens_of(captions):
    longest = max(map(len, captions))
    return Tokens(
        ids_BL=torch.tensor([ids + [0] * (longest - len(ids)) for ids in captions]),
        length_B=torch.tensor([len(ids) for ids in captions]),
    )


def gradients(tower, loss):
    tower.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in tower.named_parameters()}


def test_packed_captions_lie_end_to_end_shortest_first():
    packed = pack(tokens_of(CAPTIONS))
    assert packed.groups == [Group(1, 2), Group(2, 3), Group(1, 5), Group(1, 8)]
    assert packed.ids_T[:8].tolist() == [48, 49, 48, 9, 49, 48, 8, 49]
    assert packed.position_T[:8].tolist() == [0, 1, 0, 1, 2, 0, 1, 2]
    assert packed.last_B.tolist() == [1, 4, 7, 12, 20]
    assert packed.last_B[packed.back_B].tolist() == [12, 4, 20, 7, 1]


def test_captions_together_have_the_gradients_of_captions_alone():
    torch.manual_seed(0)
    tower = TextTransformer(TEXT, 16).double()
    direction = torch.randn(len(CAPTIONS), 16, dtype=torch.float64)
    together = gradients(tower, (tower(tokens_of(CAPTIONS)) * direction).sum())
    alone = [tower(tokens_of([caption]))[0] for caption in CAPTIONS]
    apart = gradients(tower, sum((row * way).sum() for row, way in zip(alone, direction, strict=True)))
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, apart[name], rtol=1e-12, atol=1e-12)


def prompts(names, templates):
    """ids 1-9 are words of names, 10-19 words of templates, 48 and 49 start and end."""
    return [[48, *before, *name, *after, 49] for before, after in templates for name in names]


MANY = prompts(
    [[1], [2], [3], [1, 2], [2, 3], [4, 4], [5], [6], [7, 1], [8], [8, 9], [9]],
    [([10, 11], []), ([10, 12], [13]), ([], [])],
)


def test_a_beginning_in_common_is_worked_on_once():
    packed = pack_shared(tokens_of(MANY))
    assert sum(len(caption) for caption in MANY) == 183
    # 12 names of 17 words behind three beginnings: with what stands after them 29, 41 and 29 tokens; then the start
    # token, 10, 11 and 12 once each.
    assert len(packed.ids_T) == 29 + 41 + 29 + 4
    assert not packed.groups[0].is_end
    assert packed.ids_T[packed.last_B].unique().tolist() == [49]
    assert packed.position_T[packed.last_B][packed.back_B].tolist() == [len(caption) - 1 for caption in MANY]


@pytest.mark.parametrize(
    "captions", [MANY, CAPTIONS, [[48, 49]], [[48, 1, 49]] * 9, [[48, 1]] * 9 + [[48, 1, 2, 3, 49]]]
)
def test_shared_beginnings_give_what_captions_alone_give(captions):
    torch.manual_seed(0)
    tower = TextTransformer(TEXT, 16).double()
    with torch.no_grad():
        together = tower(tokens_of(captions))
        alone = torch.cat([tower(tokens_of([caption])) for caption in captions])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)
    torch.testing.assert_close(together, tower(tokens_of(captions)).detach(), rtol=0, atol=1e-12)


@pytest.mark.journey
def test_captions_that_begin_alike_at_more_depths_than_calls_may_nest_are_placed():
    captions = [[48, *[1, 2] * count, 49] for count in range(1100)]
    packed = pack_shared(tokens_of(captions))
    assert len(packed.groups) > sys.getrecursionlimit()
    whole, row = [], 0
    for group in packed.groups:
        before = [] if group.before_P is None else packed.ids_T[group.before_P].tolist()
        for _ in range(group.sequences):
            end = row + group.length
            assert packed.position_T[row] == len(before)
            if group.is_end:
                whole.append([*before, *packed.ids_T[row:end].tolist()])
            row = end
    assert [whole[place] for place in packed.back_B.tolist()] == captions


def test_patches_are_dropped_in_training_alone():
    torch.manual_seed(0)
    tower = VisionTransformer(IMAGE, 16)
    pixels = torch.randn(3, 3, 32, 32)
    whole = tower.eval()(pixels)
    tower.patch_dropout = 0.5
    assert torch.equal(tower(pixels), whole)
    tower.train()
    assert not torch.allclose(tower(pixels), whole)
    seen = []
    tower.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    tower(pixels)
    assert seen == [[Group(3, 1 + 8)]]


def test_a_tower_that_drops_nothing_but_is_asked_to_choose_sees_every_patch():
    torch.manual_seed(0)
    tower = VisionTransformer(IMAGE, 16).double().train()
    pixels = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    whole = tower(pixels)
    tower.patch_dropout = 1e-9
    torch.testing.assert_close(tower(pixels), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("piece", [1, 2, 3, 4])
def test_a_batch_in_pieces_drops_the_patches_of_the_whole_batch(piece):
    tower = VisionTransformer(IMAGE, 16).train()
    tower.patch_dropout = 0.7
    pixels = torch.randn(8, 3, 32, 32)
    torch.manual_seed(3)
    whole = tower(pixels)
    torch.manual_seed(3)
    pieces = torch.cat([tower(part) for part in pixels.split(piece)])
    torch.testing.assert_close(pieces, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("side", ["image", "text"])
def test_recomputed_blocks_have_the_same_gradients(side):
    torch.manual_seed(0)
    if side == "image":
        tower, seen = VisionTransformer(IMAGE, 16), torch.randn(3, 3, 32, 32)
    else:
        tower, seen = TextTransformer(TEXT, 16), tokens_of(CAPTIONS)
    kept = gradients(tower, tower(seen).square().sum())
    tower.blocks.recompute = True
    again = gradients(tower, tower(seen).square().sum())
    assert all(torch.equal(again[name], gradient) for name, gradient in kept.items())

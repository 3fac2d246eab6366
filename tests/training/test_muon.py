"""Muon against torch's own for matrices, and a run with it that goes on to the same bits."""

import pytest
import torch
from torch import nn

from seesay.base.errors import UsageError
from seesay.base.settings import read_settings
from seesay.nets.clip import build_clip
from seesay.nets.presets import preset
from seesay.training.optimizer import hidden_matrices, optimizer_of, orthogonal
from seesay.training.settings import OptimizerSettings, TrainSettings

MUON = OptimizerSettings(kind="muon", learning_rate=3e-3, weight_decay=0.1)


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (16, 16)])
def test_a_step_for_a_matrix_is_that_of_torch(shape):
    torch.manual_seed(0)
    ours, theirs = nn.Linear(*shape, bias=False), nn.Linear(*shape, bias=False)
    theirs.load_state_dict(ours.state_dict())
    before = ours.weight.detach().clone()
    optimizer = optimizer_of(ours, MUON)
    peer = torch.optim.Muon(theirs.parameters(), lr=3e-3, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        gradient = torch.randn_like(ours.weight)
        ours.weight.grad, theirs.weight.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        peer.step()
    # Both round to bfloat16 on the way, in another order.
    apart, moved = (ours.weight - theirs.weight).norm(), (theirs.weight - before).norm()
    assert moved > 0 and apart < 0.03 * moved


def test_a_kernel_is_stepped_as_the_matrix_of_its_rows():
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, bias=False).to(memory_format=torch.channels_last)
    linear = nn.Linear(36, 6, bias=False)
    linear.weight.data = conv.weight.detach().flatten(1).clone()
    conv.weight.grad = torch.randn_like(conv.weight)
    linear.weight.grad = conv.weight.grad.flatten(1).clone()
    for layer in (conv, linear):
        optimizer_of(layer, MUON).step()
    assert torch.allclose(conv.weight.flatten(1), linear.weight, atol=1e-6)


def test_orthogonal_is_the_polar_factor_up_to_what_five_rounds_leave():
    matrix = torch.randn(24, 60, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert values.min() > 0.6 and values.max() < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.nn.functional.cosine_similarity(orthogonal(matrix).flatten(), (u @ v).flatten(), dim=0) > 0.97


def test_words_positions_and_pixels_are_left_to_adamw():
    clip = build_clip(preset("vit-small"), seed=0)
    hidden = {id(p) for p in hidden_matrices(clip)}
    left = {name for name, p in clip.named_parameters() if p.ndim > 1 and id(p) not in hidden}
    assert left == {
        *("image_tower.patches.weight", "image_tower.positions"),
        *("text_tower.token_embedding.weight", "text_tower.positions"),
    }
    clip = build_clip(preset("conv-tiny"), seed=0)
    hidden = {id(p) for p in hidden_matrices(clip)}
    left = {name for name, p in clip.named_parameters() if p.ndim > 1 and id(p) not in hidden}
    assert left == {"image_tower.stem.0.weight", "text_tower.token_embedding.weight"}


def test_what_is_frozen_is_no_ones():
    clip = build_clip(preset("conv-tiny"), seed=0)
    clip.image_tower.requires_grad_(False)
    assert len(hidden_matrices(clip)) == 1


def test_adamw_alone_is_as_it_was():
    clip, twin = (build_clip(preset("conv-tiny"), seed=0) for _ in range(2))
    settings = OptimizerSettings(learning_rate=1e-3, weight_decay=0.1)
    ours = optimizer_of(clip, settings)
    groups = [[p for p in twin.parameters() if p.ndim > 1], [p for p in twin.parameters() if p.ndim <= 1]]
    decays = zip(groups, (0.1, 0.0), strict=True)
    theirs = torch.optim.AdamW(
        [{"params": group, "weight_decay": decay} for group, decay in decays], lr=1e-3, betas=(0.9, 0.98), eps=1e-6
    )
    for _ in range(3):
        for one, other in zip(clip.parameters(), twin.parameters(), strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        ours.step()
        theirs.step()
    for one, other in zip(clip.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-7)


def test_parts_of_matrices_are_refused():
    with pytest.raises(UsageError, match="parallel is fsdp, which holds parts of a matrix"):
        read_settings(TrainSettings, file=None, overrides=["parallel=fsdp", "optimizer.kind=muon"])

"""Numbers of the towers worked out by hand: limits and starts of the logit scale, what a grid and a pool hold."""

import math

import pytest
import torch

from seesay.nets.architecture import ConvNetConfig, VisionTransformerConfig
from seesay.nets.clip import DualEncoder
from seesay.nets.convolutional import ConvNet
from seesay.nets.row_random import row_seeds, row_uniforms, splitmix64
from seesay.nets.vit import VisionTransformer


def encoder(log_scale: float, **scoring) -> DualEncoder:
    clip = DualEncoder(torch.nn.Identity(), torch.nn.Identity(), **scoring)
    clip.logit_scale.data.fill_(log_scale)
    return clip


@pytest.mark.parametrize(
    ("log_scale", "held"),
    [(-0.5, 0.0), (-1e-3, 0.0), (0.0, 0.0), (0.5, 0.5), (4.6, 4.6), (4.61, math.log(100)), (9.0, math.log(100))],
)
def test_the_factor_on_cosines_is_held_between_1_and_100(log_scale, held):
    clip = encoder(log_scale)
    assert clip.hold_logit_scale() == (held != log_scale)
    assert clip.logit_scale.item() == pytest.approx(held)


@pytest.mark.parametrize("log_scale", [-0.5, 9.0])
def test_a_sigmoids_factor_is_free(log_scale):
    clip = encoder(log_scale, scoring="sigmoid")
    assert not clip.hold_logit_scale()
    assert clip.logit_scale.item() == pytest.approx(log_scale)


def test_the_factors_start_where_their_papers_start_them():
    softmax = DualEncoder(torch.nn.Identity(), torch.nn.Identity())
    sigmoid = DualEncoder(torch.nn.Identity(), torch.nn.Identity(), scoring="sigmoid")
    assert softmax.logit_scale.exp().item() == pytest.approx(1 / 0.07) and softmax.logit_bias is None
    assert sigmoid.logit_scale.exp().item() == pytest.approx(10) and sigmoid.logit_bias.item() == -10


def vit(**changes) -> VisionTransformer:
    torch.manual_seed(0)
    config = {"width": 16, "layers": 1, "heads": 2, "image_size": 16, "patch": 4, **changes}
    return VisionTransformer(VisionTransformerConfig(**config), embed_dim=8)


def without_mixing(tower):
    """No position sees another one: what comes out of a block is what went in."""
    for block in tower.blocks:
        for layer in (block.attention.out, block.proj):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    return tower.eval()


@torch.no_grad()
def test_a_grid_is_the_patches_row_by_row_without_the_class_token():
    tower = without_mixing(vit())
    pixels = torch.rand(1, 3, 16, 16)
    before = tower.grid(pixels)
    assert before.shape == (1, 16, 16)
    for patch, (row, column) in ((0, (0, 0)), (1, (0, 1)), (4, (1, 0)), (15, (3, 3))):
        other = pixels.clone()
        other[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0
        changed = (tower.grid(other) != before).any(-1)[0]
        assert changed.nonzero().flatten().tolist() == [patch]


@pytest.mark.parametrize(("dropout", "left"), [(0.0, 16), (0.25, 12), (0.5, 8), (0.75, 4), (0.99, 1)])
def test_a_step_leaves_out_the_share_of_patches_that_is_dropped(dropout, left):
    tower = vit().train()
    tower.patch_dropout = dropout
    assert tower.grid(torch.rand(2, 3, 16, 16)).shape == (2, left, 16)
    assert tower.eval().grid(torch.rand(2, 3, 16, 16)).shape == (2, 16, 16)


@torch.no_grad()
def test_the_features_of_a_convolutional_tower_are_the_mean_of_its_grid():
    torch.manual_seed(0)
    tower = ConvNet(ConvNetConfig(image_size=16, width=8, depths=(1, 1)), embed_dim=8).eval()
    pixels = torch.rand(2, 3, 16, 16)
    assert torch.allclose(tower.features(pixels), tower.grid(pixels).mean(1), atol=1e-6)


def test_the_numbers_of_a_row_are_splitmix64_of_its_seed_from_the_first_counter_on():
    """The generator's first output is the mix of its seed plus the golden constant, not of the seed alone."""
    golden = 0x9E3779B97F4A7C15 - 2**64
    seeds = torch.tensor([7, -3])
    with row_seeds(seeds):
        drawn = row_uniforms(2, 3)
    for row, seed in enumerate(seeds):
        for column in range(3):
            mixed = int(splitmix64(seed + golden * torch.tensor(column + 1))) % 2**64
            assert drawn[row, column].item() == pytest.approx((mixed >> 40) / 2**24, abs=0)


def test_splitmix64_is_the_published_generator():
    """The first two outputs for seed 1234567, as in the reference implementation's own test (Vigna 2015)."""
    golden = 0x9E3779B97F4A7C15 - 2**64
    first = splitmix64(torch.tensor(1234567) + golden)
    second = splitmix64(torch.tensor(1234567) + golden * torch.tensor(2))
    assert [int(value) % 2**64 for value in (first, second)] == [6457827717110365317, 3203168211198807973]

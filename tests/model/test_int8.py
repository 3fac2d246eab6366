"""Products of 8-bit integers: right at their largest, near float32 whatever holds a row's largest numbers."""

import pytest
import torch
from small_towers import model_of, pictures
from torch.nn.functional import layer_norm

from seesay.model import int8
from seesay.model.int8_centres import Centre, centres_of
from seesay.nets.architecture import VisionTransformerConfig
from seesay.nets.packing import Group
from seesay.nets.vit import VisionTransformer


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def tower(**changed) -> VisionTransformer:
    config = VisionTransformerConfig(image_size=40, patch=8, width=64, layers=2, heads=2, **changed)
    torch.manual_seed(0)
    return VisionTransformer(config, 32).eval()


def blocks_and_rows(**changed) -> tuple[VisionTransformer, int8.Int8Blocks, torch.Tensor]:
    right = tower(**changed)
    return right, int8.Int8Blocks(right.blocks, {}), drawn(3 * 10, 64)


def nearness(found: torch.Tensor, right: torch.Tensor) -> float:
    return float((found - right).norm() / right.norm())


def test_products_of_whole_numbers_are_right_at_their_largest():
    """Where the sum of two does not fit 16 bits, a product of unsigned rows would be too small."""
    linear = torch.nn.Linear(64, 8)
    torch.nn.init.ones_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    rows = torch.stack([torch.ones(64), -torch.ones(64)])
    assert torch.allclose(int8.Int8Linear(linear)(rows), 64 * rows[:, :8], rtol=1e-5)


def test_whole_numbers_are_the_same_whatever_dtype_is_the_default():
    right = int8.whole_numbers()
    int8.whole_numbers.cache_clear()
    torch.set_default_dtype(torch.float64)
    try:
        assert int8.whole_numbers() == right
    finally:
        torch.set_default_dtype(torch.float32)


def test_whole_numbers_are_the_same_without_the_operator_that_torch_will_give_up(monkeypatch):
    x = drawn(5, 64) * 3
    right = int8.as_whole(x, 0.05, 112)
    monkeypatch.delattr(torch, "quantize_per_tensor")
    assert torch.equal(int8.as_whole(x, 0.05, 112), right)
    # Nearest, of -128 to 127.
    signed = right.int() - int8.whole_numbers()[1]
    assert torch.equal(signed, ((x / 0.05).round() - 112).clamp(-128, 127).int())


@torch.inference_mode()
def test_a_row_of_a_layer_is_near_and_the_same_in_any_batch():
    linear, x = torch.nn.Linear(64, 32), drawn(5, 64)
    layer = int8.Int8Linear(linear)
    assert torch.equal(layer(x)[2:3], layer(x[2:3]))
    assert nearness(layer(x), linear(x)) < 0.02


@torch.inference_mode()
def test_channels_are_mixed_so_that_layer_norm_does_the_same_and_none_stands_out():
    for width in (64, 192, 100, 768):
        mixing_MM = int8.mixing(width)
        x = drawn(4, width)
        assert torch.allclose(mixing_MM @ mixing_MM.T, torch.eye(len(mixing_MM)), atol=1e-5)
        normed = layer_norm(int8.mix(x, mixing_MM, 1), (width,))
        assert torch.allclose(normed, int8.mix(layer_norm(x, (width,)), mixing_MM, 1), atol=1e-5)
    x[:, 5] = 1e4
    assert layer_norm(x, (768,)).max() > 27 and layer_norm(int8.mix(x, mixing_MM, 1), (768,)).abs().max() < 12


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("has_bfloat16", [True, False])
@torch.inference_mode()
def test_blocks_are_near_for_all_positions_and_for_those_that_are_pooled(activation, has_bfloat16, monkeypatch):
    monkeypatch.setattr(int8, "has_bfloat16", lambda: has_bfloat16)
    right, blocks, x = blocks_and_rows(activation=activation)
    groups, pooled_N = [Group(3, 10)], torch.tensor([0, 14, 29])
    assert nearness(blocks(x, groups), right.blocks(x, groups)) < 0.02
    assert nearness(blocks(x, groups, pooled_N), right.blocks(x, groups, pooled_N)) < 0.02
    monkeypatch.setattr(int8, "ROWS", 10)
    assert nearness(blocks(x, groups, pooled_N), right.blocks(x, groups, pooled_N)) < 0.02
    monkeypatch.setattr(int8, "SCORES", 200)
    assert nearness(blocks(x, groups), right.blocks(x, groups)) < 0.02


@torch.inference_mode()
def test_a_channel_that_holds_most_of_a_row_costs_no_accuracy():
    right, blocks, x = blocks_and_rows()
    x[4, 7] = 300.0
    x[:, 9] = 10.0
    for block in right.blocks:
        block.ln_1.weight[9] = block.ln_2.weight[9] = 0.05
    blocks, groups = int8.Int8Blocks(right.blocks, {}), [Group(3, 10)]
    change, exact = blocks(x, groups) - x, right.blocks(x, groups) - x
    assert nearness(change, exact) < 0.03


@torch.inference_mode()
def test_channels_that_are_large_in_all_rows_alike_cost_no_accuracy():
    """As real CLIP weights have them in what blocks add up: behind a LayerNorm all others are a fiftieth as wide."""
    right, _, x = blocks_and_rows()
    large = [7, 33]
    x[:, large] += torch.tensor([300.0, -300.0])
    norms = [norm for block in right.blocks for norm in (block.ln_1, block.ln_2)]
    for norm in norms:
        norm.weight.mul_(50)
        norm.weight[large] = 0.05
    groups, normed = [Group(3, 10)], layer_norm(x, (64,))
    offset_W = torch.zeros(64).index_copy(0, torch.tensor(large), normed[:, large].mean(0))
    centre = Centre(offset_W, 3 * float((normed - offset_W).square().mean().sqrt()))
    exact = right.blocks(x, groups) - x
    without, taken_off = (
        nearness(int8.Int8Blocks(right.blocks, centres)(x, groups) - x, exact)
        for centres in ({}, {id(norm): centre for norm in norms})
    )
    assert taken_off < 0.06 and taken_off < without / 5


@torch.inference_mode()
def test_such_channels_are_found_and_no_others():
    own = model_of("vit")
    assert not centres_of(own)
    own.clip.image_tower.ln_pre.bias[[7, 33]] += torch.tensor([400.0, -400.0])
    centres = centres_of(own)
    assert len(centres) == 2 * len(own.clip.image_tower.blocks)
    assert all(centre.offset_W.nonzero().flatten().tolist() == [7, 33] for centre in centres.values())
    assert all(centre.width < 0.2 for centre in centres.values())


@torch.inference_mode()
def test_nothing_is_taken_off_where_the_row_of_the_class_token_has_none_of_it():
    own = model_of("vit")
    tower = own.clip.image_tower
    tower.ln_pre = torch.nn.Identity()
    tower.positions[1:, [7, 33]] += torch.tensor([400.0, -400.0])
    assert not centres_of(own)
    tower.positions[0, [7, 33]] += torch.tensor([400.0, -400.0])
    assert len(centres_of(own)) == 2 * len(tower.blocks)


@pytest.mark.parametrize("has_bfloat16", [True, False])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@torch.inference_mode()
def test_a_row_that_is_no_number_is_seen_in_what_its_image_pools(value, has_bfloat16, monkeypatch):
    monkeypatch.setattr(int8, "has_bfloat16", lambda: has_bfloat16)
    _, blocks, x = blocks_and_rows()
    groups, pooled_N = [Group(3, 10)], torch.tensor([0, 10, 20])
    right = blocks(x, groups, pooled_N)
    x[13, 5] = value
    found = blocks(x, groups, pooled_N)
    assert found.isnan().all(1).tolist() == [False, True, False]
    assert torch.equal(found[[0, 2]], right[[0, 2]])


@torch.inference_mode()
def test_patches_are_near_those_of_the_convolution(monkeypatch):
    right = tower()
    pixels = drawn(3, 3, 40, 40)
    patches = int8.Int8Patches(right.patches)
    assert patches(pixels).shape == right.patches(pixels).shape
    assert nearness(patches(pixels), right.patches(pixels)) < 0.02
    monkeypatch.setattr(int8, "ROWS", 25)
    assert nearness(patches(pixels), right.patches(pixels)) < 0.02


def test_all_products_of_a_tower_are_of_integers():
    other = model_of("vit").with_engine("torch-int8")
    tower = other.encoder.image_tower
    assert isinstance(tower.patches, int8.Int8Patches) and isinstance(tower.blocks, int8.Int8Blocks)
    assert torch.allclose(
        other.encode_images(pictures(3, 40))[1:2], other.encode_images(pictures(3, 40)[1:2]), atol=1e-2
    )

"""`Conv3x3` against torch's own convolution: values, both gradients, in float64 by differences too."""

import pytest
import torch
import torch.nn.functional as F

from seesay.nets import convolutional
from seesay.nets.convolutional import SMALL_MAP, TINY_MAP, Conv3x3

SIDES = {"tiny": 2, "one": 1, "small": 5, "odd": 3, "large": 9}


@pytest.fixture(params=[False, True], ids=["without matrix units", "with"])
def matrix_units(request, monkeypatch):
    monkeypatch.setattr(convolutional, "_has_matrix_units", lambda dtype: request.param)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", SIDES.values(), ids=SIDES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_values_and_gradients_are_those_of_torch(matrix_units, side, stride, dtype):
    torch.manual_seed(side)
    conv = Conv3x3(6, 4, stride=stride).to(dtype)
    x = torch.randn(3, 6, side, side + 1, dtype=dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = conv(x)
    upstream = torch.randn_like(y)
    got = torch.autograd.grad(y, (x, conv.weight), upstream)
    expected = F.conv2d(x, conv.weight, stride=stride, padding=1)
    wanted = torch.autograd.grad(expected, (x, conv.weight), upstream)
    bound = 1e-12 if dtype == torch.float64 else 1e-5
    for one, other in zip((y, *got), (expected, *wanted), strict=True):
        assert one.shape == other.shape and torch.allclose(one, other, rtol=bound, atol=bound)


def test_the_maps_here_lie_on_both_sides_of_the_borders():
    sizes = [side * (side + 1) for side in SIDES.values()]
    assert min(sizes) <= TINY_MAP < max(size for size in sizes if size <= SMALL_MAP) <= SMALL_MAP < max(sizes)


@pytest.mark.parametrize("side", [1, 2, 4])
def test_gradients_are_those_of_differences(matrix_units, side):
    torch.manual_seed(0)
    conv = Conv3x3(2, 3, stride=1).double()
    x = torch.randn(2, 2, side, side, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, weight: convolutional._Conv3x3.apply(x, weight, 1), (x, conv.weight))


def test_in_bfloat16_the_weights_have_gradients_of_their_own_width(matrix_units):
    torch.manual_seed(0)
    conv, x = Conv3x3(8, 8), torch.randn(4, 8, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        y = conv(x)
    assert y.dtype == torch.bfloat16
    y.float().square().mean().backward()
    reference = conv.weight.detach().clone().requires_grad_()
    F.conv2d(x, reference, padding=1).square().mean().backward()
    assert conv.weight.grad.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(conv.weight.grad.flatten(), reference.grad.flatten(), dim=0) > 0.9999


def test_frozen_weights_and_inputs_without_gradient_are_left_out(matrix_units):
    conv, x = Conv3x3(2, 2), torch.randn(2, 2, 2, 2, requires_grad=True)
    conv.weight.requires_grad_(False)
    conv(x).sum().backward()
    assert x.grad is not None and conv.weight.grad is None
    conv.weight.requires_grad_(True)
    conv(x.detach()).sum().backward()
    assert conv.weight.grad is not None

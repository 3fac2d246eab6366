"""The paper's modified ResNets: a float64 formula written out loop by loop, and the start."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seesay.base.errors import UsageError
from seesay.nets.architecture import ResNetConfig
from seesay.nets.convolutional import ResNet

TINY = ResNetConfig(image_size=64, width=8, layers=(2, 1, 1, 1), heads=4)


def moved_from_its_start(tower: torch.nn.Module) -> torch.nn.Module:
    """As after training: no norm is the identity, no branch is closed."""
    generator = torch.Generator().manual_seed(7)
    for name, tensor in tower.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
            is_spread = name.endswith(("norm_3.weight", "running_var"))
            tensor += 0.5 + noise if is_spread else 0.2 * (noise - 0.5)
    return tower.eval()


def norm(x, w, name):
    mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    scale = w[f"{name}.weight"] / np.sqrt(var + 1e-5)
    return (x - mean[:, None, None]) * scale[:, None, None] + w[f"{name}.bias"][:, None, None]


def conv(x, weight, *, stride=1):
    """Channel sums at every place, one place at a time."""
    reach = weight.shape[-1] // 2
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach)))
    side = x.shape[1] // stride
    rows = [
        [
            np.tensordot(weight, padded[:, y : y + 2 * reach + 1, x : x + 2 * reach + 1], 3)
            for x in range(0, side * stride, stride)
        ]
        for y in range(0, side * stride, stride)
    ]
    return np.array(rows).transpose(2, 0, 1)


def pool(x):
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def relu(x):
    return np.maximum(x, 0)


def bottleneck(x, w, name, *, halve):
    y = relu(norm(conv(x, w[f"{name}.conv_1.weight"]), w, f"{name}.norm_1"))
    y = relu(norm(conv(y, w[f"{name}.conv_2.weight"]), w, f"{name}.norm_2"))
    y = norm(conv(pool(y) if halve else y, w[f"{name}.conv_3.weight"]), w, f"{name}.norm_3")
    if f"{name}.shortcut.conv.weight" in w:
        x = norm(conv(pool(x) if halve else x, w[f"{name}.shortcut.conv.weight"]), w, f"{name}.shortcut.norm")
    return relu(x + y)


def attention_pool(x, w, heads):
    positions = x.reshape(len(x), -1).T
    positions = np.concatenate([positions.mean(0, keepdims=True), positions]) + w["pool.positions"]
    query, key, value = (
        positions @ w[f"pool.{name}.weight"].T + w[f"pool.{name}.bias"] for name in ("query", "key", "value")
    )
    splitmix64 = []
    for part in np.split(np.arange(query.shape[1]), heads):
        scores = np.exp(key[:, part] @ query[0, part] / np.sqrt(len(part)))
        splitmix64.append(scores / scores.sum() @ value[:, part])
    return np.concatenate(splitmix64) @ w["pool.out.weight"].T + w["pool.out.bias"]


@torch.no_grad()
def test_resnet_equals_the_written_out_formula_in_float64():
    torch.manual_seed(0)
    tower = moved_from_its_start(ResNet(TINY, 24).double())
    w = {name: tensor.numpy() for name, tensor in tower.state_dict().items()}
    pixels = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    expected = []
    for x in pixels.numpy():
        for place in (1, 2, 3):
            stride = 2 if place == 1 else 1
            x = relu(norm(conv(x, w[f"stem.conv_{place}.weight"], stride=stride), w, f"stem.norm_{place}"))
        x = pool(x)
        for stage, depth in enumerate(TINY.layers):
            for place in range(depth):
                x = bottleneck(x, w, f"stages.{stage}.{place}", halve=stage > 0 and place == 0)
        expected.append(attention_pool(x, w, TINY.heads))
    np.testing.assert_allclose(tower(pixels).numpy(), np.stack(expected), rtol=1e-10, atol=1e-10)


def test_resnet_starts_as_the_released_code_does():
    torch.manual_seed(0)
    tower = ResNet(TINY, 24)
    channels = 32 * TINY.width
    for name, parameter in tower.pool.named_parameters():
        if not name.endswith("bias"):
            assert parameter.std().item() == pytest.approx(channels**-0.5, rel=0.1), name
    assert all(not block.norm_3.weight.any() for stage in tower.stages for block in stage)
    x = torch.relu(torch.randn(1, 32, 8, 8))
    assert torch.equal(tower.stages[0][1].eval()(x), x)
    bound = TINY.width**-0.5
    assert 0.9 * bound < tower.stages[0][0].conv_2.weight.abs().max() * 3 <= bound


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"image_size": 80}, "no multiple of 32"),
        ({"heads": 3}, "does not divide the 256 channels"),
        ({"width": 9}, "is odd"),
        ({"layers": (1, 1, 1)}, "layers"),
    ],
)
def test_a_resnet_that_cannot_be_built_is_refused(change, told):
    with pytest.raises(UsageError, match=told):
        ResNetConfig(**(TINY.model_dump() | change))


@torch.no_grad()
def test_a_pool_of_two_is_what_the_formula_calls_one():
    x = torch.randn(3, 4, 6)
    np.testing.assert_allclose(pool(x.numpy()), F.avg_pool2d(x, 2).numpy(), atol=1e-6)

"""A model's image encoder as an ONNX graph: pixels (N, 3, S, S), normalised, to unit rows (N, D).

N = images, S = side in pixels, L = positions, W = width, C = channels, or width of a head, H = heads,
D = embedding width.
"""

from collections.abc import Callable

import torch
from torch import nn

from seesay.model.onnx_graphs import (
    IMAGE_INPUT,
    OUTPUT,
    Graph,
    Pooled,
    activated,
    all_blocks,
    dual_encoder,
    file_of,
    one_block,
    refuse_tower,
    seen_by_one,
    through_keys,
    unit_rows,
    whole,
)
from seesay.nets.clip import Clip
from seesay.nets.convolutional import AttentionPool, Bottleneck, ConvNet, ResidualBlock, ResNet
from seesay.nets.siglip import SiglipImage
from seesay.nets.vit import VisionTransformer

# The second output, for linear probes.
FEATURES = "features"


def image_graph(model_name: str, clip: Clip, *, width: int | None = None, with_features: bool = False) -> bytes:
    """The ONNX file of images, pixels (N, 3, S, S) to unit rows (N, D); rows cut to `width` if one is given.

    The features of a linear probe are a second output where they are asked for.
    """
    clip = dual_encoder(model_name, clip)
    graph, tower = Graph(), clip.image_tower
    refuse_tower(model_name, "image", tower, IMAGE_TOWERS)
    x = IMAGE_TOWERS[type(tower)](graph, tower, IMAGE_INPUT)
    side = int(tower.image_size)  # type: ignore[arg-type]
    outputs = {OUTPUT: unit_rows(graph, x, clip.image_projection, width)}
    if with_features:
        outputs[FEATURES] = graph.features
    return file_of(graph, outputs, IMAGE_INPUT, ("N", 3, side, side))


def _vision_transformer(graph: Graph, tower: VisionTransformer, pixels: str) -> str:
    x = _patches(graph, tower.patches, int(tower.image_size), pixels)
    # Room for the class token, whose row of the table of positions holds both.
    x = graph.add("Pad", x, whole(0, 1, 0, 0, 0, 0))
    positions = tower.positions.detach().clone()
    positions[0] += tower.class_token.detach()
    x = graph.norm(graph.add("Add", x, positions[None]), tower.ln_pre)
    if tower.pools_patches:
        for block in tower.blocks:
            x = one_block(graph, block, x)
        x = graph.add("Slice", x, whole(1), whole(len(positions)), whole(1))
        x = graph.add("ReduceMean", x, axes=[1], keepdims=0)
    else:
        x = all_blocks(graph, tower.blocks, x, Pooled(index=0))
    graph.features = graph.norm(x, tower.ln_post)
    return graph.add("MatMul", graph.features, tower.projection)


def _siglip_image(graph: Graph, tower: SiglipImage, pixels: str) -> str:
    x = graph.add("Add", _patches(graph, tower.patches, int(tower.image_size), pixels), tower.positions[None])
    for block in tower.blocks:
        x = one_block(graph, block, x)
    x, head = graph.norm(x, tower.ln_post), tower.head
    query_weight, key_weight, value_weight = head.qkv.weight.detach().chunk(3)
    query_bias, _, value_bias = head.qkv.bias.detach().chunk(3)
    query_HC = (head.probe.detach()[0, 0] @ query_weight.T + query_bias).view(head.heads, -1)
    through_HW = torch.einsum("hc,hcw->hw", query_HC, key_weight.unflatten(0, (head.heads, -1)))
    query = graph.tensor((through_HW * query_HC.shape[1] ** -0.5)[None])
    mixed = seen_by_one(graph, query, x, (value_weight, value_bias), head.heads)
    pooled = graph.linear(mixed, head.out.weight, head.out.bias)
    inner = graph.linear(graph.norm(pooled, head.ln), head.fc.weight, head.fc.bias)
    outer = graph.linear(activated(graph, head.activation, inner), head.proj.weight, head.proj.bias)
    graph.features = graph.add("Add", pooled, outer)
    return graph.features


def _patches(graph: Graph, conv: nn.Conv2d, side: int, pixels: str) -> str:
    """(N, 3, S, S) to (N, patches, W), as a product, which is faster in both runtimes than a convolution."""
    patch = conv.kernel_size[0]
    assert conv.stride == conv.kernel_size == (patch, patch) and conv.padding == (0, 0)
    count = side // patch
    if side % patch:
        # As a convolution does, which never comes to what is right of or below the last whole patch.
        pixels = graph.add("Slice", pixels, whole(0, 0), whole(count * patch, count * patch), whole(2, 3))
    tiles = graph.reshape(pixels, 0, 3, count, patch, count, patch)
    x = graph.reshape(graph.add("Transpose", tiles, perm=[0, 2, 4, 1, 3, 5]), 0, count * count, 3 * patch * patch)
    return graph.linear(x, conv.weight.flatten(1), conv.bias)


def _positions(graph: Graph, x: str, channels: int) -> str:
    """(N, C, h, w) to (N, h * w, C)."""
    return graph.add("Transpose", graph.reshape(x, 0, channels, -1), perm=[0, 2, 1])


def _convolved(graph: Graph, x: str, conv: nn.Module, norm: nn.Module | None = None) -> str:
    """A convolution, with the batch normalisation behind it in its weights."""
    assert isinstance(conv, nn.Conv2d)
    weight = conv.weight.detach().double()
    bias = torch.zeros(len(weight), dtype=torch.double) if conv.bias is None else conv.bias.detach().double()
    if norm is not None:
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
        factor = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
        weight = weight * factor[:, None, None, None]
        bias = (bias - norm.running_mean.double()) * factor + norm.bias.detach().double()
    padding = [int(side) for side in conv.padding]
    sides = {"kernel_shape": list(conv.kernel_size), "strides": list(conv.stride), "pads": [*padding, *padding]}
    return graph.add("Conv", x, weight.float(), bias.float(), **sides)


def _conv_net(graph: Graph, tower: ConvNet, pixels: str) -> str:
    x = pixels
    for at in (0, 3):
        x = graph.add("Relu", _convolved(graph, x, tower.stem[at], tower.stem[at + 1]))
    for block in tower.blocks:
        assert isinstance(block, ResidualBlock)
        y = graph.add("Relu", _convolved(graph, x, block.conv_1, block.norm_1))
        y = _convolved(graph, y, block.conv_2, block.norm_2)
        x = graph.add("Relu", graph.add("Add", y, _shortcut(graph, x, block.shortcut)))
    graph.features = graph.add("ReduceMean", x, axes=[2, 3], keepdims=0)
    return graph.add("MatMul", graph.features, tower.projection)


def _shortcut(graph: Graph, x: str, shortcut: nn.Sequential) -> str:
    parts = list(shortcut)
    if parts and isinstance(parts[0], nn.AvgPool2d):
        x = _average(graph, x, parts.pop(0))
    return _convolved(graph, x, parts[0], parts[1]) if parts else x


def _average(graph: Graph, x: str, pool: nn.Module) -> str:
    if isinstance(pool, nn.Identity):
        return x
    assert isinstance(pool, nn.AvgPool2d) and isinstance(pool.kernel_size, int)
    sides = {"kernel_shape": [pool.kernel_size] * 2, "strides": [pool.kernel_size] * 2}
    return graph.add("AveragePool", x, ceil_mode=int(pool.ceil_mode), count_include_pad=0, **sides)


def _resnet(graph: Graph, tower: ResNet, pixels: str) -> str:
    x = pixels
    for at in (1, 2, 3):
        x = graph.add("Relu", _convolved(graph, x, tower.stem[f"conv_{at}"], tower.stem[f"norm_{at}"]))
    x = graph.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    for block in (block for stage in tower.stages for block in stage):  # type: ignore[attr-defined]
        assert isinstance(block, Bottleneck)
        y = graph.add("Relu", _convolved(graph, x, block.conv_1, block.norm_1))
        y = graph.add("Relu", _convolved(graph, y, block.conv_2, block.norm_2))
        y = _convolved(graph, _average(graph, y, block.pool), block.conv_3, block.norm_3)
        x = graph.add("Relu", graph.add("Add", y, _shortcut(graph, x, block.shortcut)))
    return _attention_pool(graph, x, tower.pool)


def _attention_pool(graph: Graph, x: str, pool: AttentionPool) -> str:
    channels = pool.positions.shape[1]
    x = _positions(graph, x, channels)
    mean = graph.add("ReduceMean", x, axes=[1], keepdims=1)
    x = graph.add("Add", graph.add("Concat", mean, x, axis=1), pool.positions[None])
    query = graph.linear(Pooled(index=0).rows(graph, x), pool.query.weight, pool.query.bias)
    query = through_keys(graph, query, pool.key.weight, pool.heads)
    graph.features = seen_by_one(graph, query, x, (pool.value.weight, pool.value.bias), pool.heads)
    return graph.linear(graph.features, pool.out.weight, pool.out.bias)


IMAGE_TOWERS: dict[type, Callable[..., str]] = {
    VisionTransformer: _vision_transformer,
    ResNet: _resnet,
    SiglipImage: _siglip_image,
    ConvNet: _conv_net,
}

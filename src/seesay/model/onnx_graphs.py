"""ONNX graphs, written node by node: what the graphs of images and of texts have in common.

Nothing is traced, and nothing is computed that is not pooled; torch's own exporters were tried first
(docs/decisions/0018-engines.md has what came of it).

N = images or texts, L = positions, W = width, C = width of a head, H = heads, D = embedding width.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from seesay.base.errors import UsageError
from seesay.nets.block import Block, gelu_tanh, quick_gelu
from seesay.nets.clip import Clip, DualEncoder

# The oldest with LayerNormalization, which every runtime of today reads; and the version of files that goes with it.
OPSET, IR_VERSION = 17, 8
IMAGE_INPUT, TEXT_INPUT, OUTPUT = "pixels", "ids", "embedding"
# The least length that a row is divided by, as torch's normalize has it.
SHORTEST = 1e-12


@dataclass
class Graph:
    """Nodes and tensors in turn; `add` gives the name of a node's output."""

    nodes: list[Any] = field(default_factory=list)
    tensors: list[Any] = field(default_factory=list)
    # What a linear probe reads, in the graph of images.
    features: str = ""

    def add(self, kind: str, *inputs: "str | Tensor | np.ndarray", **attributes: Any) -> str:
        """A node of that kind; an input is the name of an output, or a constant of any shape."""
        from onnx.helper import make_node

        names = [each if isinstance(each, str) else self.tensor(each) for each in inputs]
        output = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(make_node(kind, names, [output], name=output, **attributes))
        return output

    def tensor(self, value: "Tensor | np.ndarray") -> str:
        """The name of a constant of any shape."""
        from onnx.numpy_helper import from_array

        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        name = f"tensor_{len(self.tensors)}"
        self.tensors.append(from_array(np.asarray(array, order="C"), name))
        return name

    def reshape(self, x: str, *shape: int) -> str:
        """0 is the side as it is, -1 what is left."""
        return self.add("Reshape", x, whole(*shape))

    def linear(self, x: str, weight: Tensor, bias: Tensor | None) -> str:
        """x (..., C) by a weight (W, C), as torch's Linear has it."""
        y = self.add("MatMul", x, weight.float().T)
        return y if bias is None else self.add("Add", y, bias.float())

    def norm(self, x: str, layer: nn.Module) -> str:
        """A LayerNorm over the last side, or nothing where the layer is none."""
        if isinstance(layer, nn.Identity):
            return x
        assert isinstance(layer, nn.LayerNorm)
        return self.add("LayerNormalization", x, layer.weight, layer.bias, axis=-1, epsilon=layer.eps)


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """The one position of every sequence that is read: a fixed `index`, or where the indices `of_text` (N, 1) say."""

    index: int = 0
    of_text: str | None = None

    def rows(self, graph: Graph, x: str) -> str:
        """(N, L, W) to (N, W)."""
        if self.of_text is None:
            return graph.add("Gather", x, np.array(self.index), axis=1)
        return graph.add("GatherND", x, self.of_text, batch_dims=1)


def refuse_tower(model_name: str, side: str, tower: nn.Module, known: Iterable[type]) -> None:
    """`UsageError` with the reason for a tower that is none of those known."""
    has_queries = getattr(tower, "query_pool", None) is not None
    if type(tower) not in known or has_queries:
        kind = type(tower).__name__ + " with CoCa's pooling" * has_queries
        names = ", ".join(each.__name__ for each in known)
        raise UsageError(f"{model_name} has the {side} tower {kind}, which is not exported; those that are: {names}.")


def dual_encoder(model_name: str, clip: Clip) -> DualEncoder:
    """The model as one that embeds texts; `UsageError` for one that predicts captions."""
    if not isinstance(clip, DualEncoder):
        raise UsageError(
            f"{model_name} predicts captions: it has no embedding of a text, and its head is not exported."
        )
    return clip


def file_of(graph: Graph, outputs: dict[str, str], name: str, shape: tuple[str | int, ...]) -> bytes:
    """The whole ONNX file: one input of that name and shape, outputs by their names."""
    from onnx import TensorProto, helper

    named = [helper.make_node("Identity", [value], [output]) for output, value in outputs.items()]
    kind = TensorProto.FLOAT if name == IMAGE_INPUT else TensorProto.INT64
    given = [helper.make_tensor_value_info(name, kind, shape)]
    made = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ("N", f"{output} width")) for output in outputs]
    whole = helper.make_graph([*graph.nodes, *named], "seesay", given, made, initializer=graph.tensors)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(whole, producer_name="seesay", opset_imports=opsets, ir_version=IR_VERSION)
    return model.SerializeToString()


def unit_rows(graph: Graph, x: str, projection: nn.Module, width: int | None) -> str:
    """What may stand behind a tower's own projection, then unit length."""
    if isinstance(projection, nn.Sequential):
        last = projection[1]
        assert isinstance(last, nn.Linear)
        x = graph.linear(graph.add("Relu", x), last.weight, last.bias)
    if width is not None:
        x = graph.add("Slice", x, whole(0), whole(width), whole(1))
    length = graph.add("Max", graph.add("ReduceL2", x, axes=[-1], keepdims=1), _float(SHORTEST))
    return graph.add("Div", x, length)


def all_blocks(
    graph: Graph, blocks: nn.ModuleList, x: str, pooled: Pooled, masks: tuple[str | None, str | None] = (None, None)
) -> str:
    """All blocks, the last one for the pooled position alone, (N, W); the masks are of all positions and of it."""
    for block in list(blocks)[:-1]:
        x = one_block(graph, block, x, mask=masks[0])
    return _pooled_block(graph, blocks[-1], x, pooled, mask=masks[1])


def one_block(graph: Graph, block: nn.Module, x: str, *, mask: str | None = None) -> str:
    """As `nets.block.Block`: (N, L, W) to (N, L, W)."""
    assert isinstance(block, Block)
    attention, width = block.attention, block.ln_1.normalized_shape[0]
    scale = (width // attention.heads) ** -0.5
    query_weight, key_weight, value_weight = attention.qkv.weight.detach().chunk(3)
    query_bias, key_bias, value_bias = attention.qkv.bias.detach().chunk(3)
    normed = graph.norm(x, block.ln_1)
    weights = ((query_weight * scale, query_bias * scale), (key_weight, key_bias), (value_weight, value_bias))
    query, key, value = (
        graph.add("Transpose", graph.reshape(graph.linear(normed, *each), 0, 0, attention.heads, -1), perm=[0, 2, 1, 3])
        for each in weights
    )
    # Keys are turned in a step of their own: OpenVINO takes it, and no other order, into its attention.
    scores = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 1, 3, 2]))
    if mask is not None:
        scores = graph.add("Add", scores, mask)
    mixed = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), value)
    mixed = graph.reshape(graph.add("Transpose", mixed, perm=[0, 2, 1, 3]), 0, -1, width)
    return _rest_of_block(graph, block, x, mixed)


def _pooled_block(graph: Graph, block: nn.Module, x: str, pooled: Pooled, *, mask: str | None) -> str:
    """The block for the pooled position alone, (N, L, W) to (N, W); the mask is (N, 1, L)."""
    assert isinstance(block, Block)
    attention = block.attention
    query_weight, key_weight, value_weight = attention.qkv.weight.detach().chunk(3)
    query_bias, _, value_bias = attention.qkv.bias.detach().chunk(3)
    normed = graph.norm(x, block.ln_1)
    query = graph.linear(pooled.rows(graph, normed), query_weight, query_bias)
    query = through_keys(graph, query, key_weight, attention.heads)
    mixed = seen_by_one(graph, query, normed, (value_weight, value_bias), attention.heads, mask=mask)
    return _rest_of_block(graph, block, pooled.rows(graph, x), mixed)


def _rest_of_block(graph: Graph, block: Block, x: str, mixed: str) -> str:
    """The block behind what its positions have seen of each other, both (..., W)."""
    x = graph.add("Add", x, graph.linear(mixed, block.attention.out.weight, block.attention.out.bias))
    inner = graph.linear(graph.norm(x, block.ln_2), block.fc.weight, block.fc.bias)
    return graph.add(
        "Add", x, graph.linear(activated(graph, block.activation, inner), block.proj.weight, block.proj.bias)
    )


def through_keys(graph: Graph, query: str, key_weight: Tensor, heads: int) -> str:
    """One query of each sequence, (N, W), through the weights of keys: (N, H, W).

    Its products with positions are the query's with their keys, but for the bias of keys, which moves all scores of a
    head alike and no share: keys need not be computed.
    """
    weight_HCW = key_weight.detach().float().unflatten(0, (heads, -1))
    query_HNC = graph.add("Transpose", graph.reshape(query, 0, heads, -1), perm=[1, 0, 2])
    seen_HNW = graph.add("MatMul", query_HNC, weight_HCW * weight_HCW.shape[1] ** -0.5)
    return graph.add("Transpose", seen_HNW, perm=[1, 0, 2])


def seen_by_one(
    graph: Graph, query: str, x: str, values: tuple[Tensor, Tensor], heads: int, *, mask: str | None = None
) -> str:
    """What one query, (N, H, W) or (1, H, W) `through_keys`, sees of positions x (N, L, W): (N, W).

    Shares add up to 1, so that values, a weight and a bias, are those of the positions' mean by shares. The mask is
    (N, 1, L).
    """
    value_weight, value_bias = values
    scores = graph.add("MatMul", query, graph.add("Transpose", x, perm=[0, 2, 1]))
    if mask is not None:
        scores = graph.add("Add", scores, mask)
    mean_HNW = graph.add("Transpose", graph.add("MatMul", graph.add("Softmax", scores, axis=-1), x), perm=[1, 0, 2])
    weight_HWC = value_weight.detach().float().unflatten(0, (heads, -1)).mT
    mixed = graph.reshape(graph.add("Transpose", graph.add("MatMul", mean_HNW, weight_HWC), perm=[1, 0, 2]), 0, -1)
    return graph.add("Add", mixed, value_bias.float())


def activated(graph: Graph, activation: Callable, x: str) -> str:
    """As `nets.block.ACTIVATIONS`, of any shape."""
    if activation is quick_gelu:
        return graph.add("Mul", x, graph.add("Sigmoid", graph.add("Mul", x, _float(1.702))))
    if activation is gelu_tanh:
        cubed = graph.add("Mul", graph.add("Mul", graph.add("Mul", x, x), x), _float(0.044715))
        inner = graph.add("Tanh", graph.add("Mul", graph.add("Add", x, cubed), _float(math.sqrt(2 / math.pi))))
    else:
        inner = graph.add("Erf", graph.add("Div", x, _float(math.sqrt(2))))
    return graph.add("Mul", graph.add("Mul", x, graph.add("Add", inner, _float(1.0))), _float(0.5))


def whole(*numbers: int) -> np.ndarray:
    """Whole numbers as ONNX takes indices and sides, (N,)."""
    return np.array(numbers, dtype=np.int64)


def _float(number: float) -> np.ndarray:
    return np.array(number, dtype=np.float32)

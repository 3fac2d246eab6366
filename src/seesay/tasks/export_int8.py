"""Exported graphs in 8-bit integers, by the calibrator of the runtime that will read them.

N = images or texts, L = longest of them in ids, S = side in pixels, W = width.
"""

import contextlib
import copy
import io
import logging
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seesay.model.bundle import Model
from seesay.nets.block import Block

# Layers that stay in float32 at the beginning, the next number where the bound asks for it; none of transformers at
# first, as a trained ViT has a smallest cosine of 0.997 without (benchmarks/2026-11-30-int8).
FLOAT_LAYERS = (4, 8)
# A convolution stays in float32 that has no more than this share of an average one's multiplications: in the box
# shortcuts of 1x1, which pay nothing in int8 and lose as much as the largest (benchmarks/2026-11-30-int8). Not a share
# of all: of a ResNet with 199 convolutions hardly one has a hundredth.
SMALL_SHARE = 0.16
# Ranges of convolutions are taken from photos with so many times their contrast, too: of 7,801 images of six sets the
# box has a smallest cosine of 0.9950 in OpenVINO so, and 0.9923 without (benchmarks/2026-11-29-engines, int8_sets).
CONTRAST = 1.5
# Photos that ranges are taken from, guesses; more of convolutions in ONNX Runtime: of those 7,801 images the box has a
# smallest cosine of 0.9949 with 128 and of 0.9965 with 512 (benchmarks/2026-11-30-int8).
CALIBRATED, CALIBRATED_CONVOLUTIONS = 128, 512
# A channel behind a LayerNorm is narrowed to so many times what half of the channels stay within (a trained ViT: 2.6).
MOST_TIMES = 4.0
# In attention of at most so many positions shares are whole numbers of 1/255, too: a mean one is at least 4 of these.
MOST_POSITIONS = 64
# What stands between a bias and its sum, and what cuts pixels into tiles.
SHAPING, TILING = ("Reshape", "Unsqueeze", "Convert"), ("Reshape", "Transpose", "Slice", "StridedSlice")
# What no range is below.
SMALLEST = 1e-6
# What OpenVINO calls the nodes that make rows of unit length, and means of positions.
UNIT_LENGTH = ("ReduceL2", "Maximum", "Divide", "ReduceMean")


def float_layers(graph: bytes) -> tuple[int, ...]:
    """How many first layers of an ONNX file may stay in float32, in the order to try; at first none of transformers."""
    return FLOAT_LAYERS if _has_convolutions(graph) else (0, *FLOAT_LAYERS)


def photos_for_ranges(model: Model, engine: str) -> int:
    """How many photos a model's ranges are taken from."""
    has_convolutions = model.architecture.image.kind in ("conv", "resnet")
    return CALIBRATED_CONVOLUTIONS if has_convolutions and engine == "onnx" else CALIBRATED


def for_ranges(pixels_N3SS: Tensor, graph: bytes) -> Tensor:
    """The uint8 photos (N, 3, S, S) that an ONNX file's ranges are taken from: for convolutions once more with more
    contrast behind them, so that numbers of harsher images are not cut off."""
    if not _has_convolutions(graph):
        return pixels_N3SS
    harsher_N3SS = ((pixels_N3SS.float() - 128) * CONTRAST + 128).clamp(0, 255)
    return torch.cat([pixels_N3SS, harsher_N3SS.to(torch.uint8)])


@torch.no_grad()
def without_outliers(model: Model, pixels_N3SS: Tensor, texts: Sequence[str]) -> Model:
    """The same function, of uint8 images (N, 3, S, S) and texts, without channels far wider than others in products.

    Where a LayerNorm stands before a product of a transformer block, the channel's gain and bias become smaller and its
    weights in the product as many times as large. One step for all channels would be too wide for the others.
    Source: Xiao et al. 2022, "SmoothQuant", here for outliers alone.
    """
    if not any(isinstance(module, Block) for module in model.clip.modules()):
        return model
    other = copy.copy(model)
    other.clip = copy.deepcopy(model.clip)
    pairs: list[tuple[nn.LayerNorm, nn.Linear]] = []
    for block in other.clip.modules():
        if isinstance(block, Block):
            pairs += (block.ln_1, block.attention.qkv), (block.ln_2, block.fc)
    most: dict[nn.Module, Tensor] = {norm: torch.zeros_like(norm.weight) for norm, _ in pairs}

    def measure(norm: nn.Module, _: object, output: Tensor) -> None:
        most[norm] = torch.maximum(most[norm], output.abs().flatten(0, -2).amax(0))

    hooks = [norm.register_forward_hook(measure) for norm in most]
    for part in pixels_N3SS.split(model.batch_size):
        other.encode_pixels(part)
    other.encode_texts(texts)
    for hook in hooks:
        hook.remove()
    for norm, linear in pairs:
        times_W = (most[norm] / (MOST_TIMES * most[norm].median()).clamp(min=SMALLEST)).clamp(min=1)
        norm.weight.div_(times_W)
        norm.bias.div_(times_W)
        linear.weight.mul_(times_W)
    return other


def in_int8(graph: bytes, inputs: Sequence[np.ndarray], *, first: int) -> bytes:
    """An ONNX file whose products with weights are of 8-bit integers; their ranges are those that the inputs give,
    (N, 3, S, S) or (N, L).

    Weights have a scale for each output, activations one for a tensor, by ONNX Runtime's own calibrator (the smallest
    and the largest number seen). A convolution's output is rounded behind its ReLU, so that no step is spent on what
    that cuts off, and a matrix product's not at all. Attention, normalisation, small convolutions, the `first` layers
    and the last one stay in float32.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Inputs(CalibrationDataReader):
        def __init__(self, name: str):
            self._inputs: Iterator[dict[str, np.ndarray]] = iter([{name: array} for array in inputs])

        def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
            return next(self._inputs, None)

    model = onnx.load_from_string(graph)
    products = [node.name for node in model.graph.node if node.op_type in ("MatMul", "Conv", "Gemm")]
    # Of the one query of a last block, head by head: small, and not what is computed in 8-bit integers at once.
    by_head = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 3}
    of_one_query = [node.name for node in model.graph.node if node.op_type == "MatMul" and by_head & {*node.input}]
    in_float = [*products[:first], *_small_convolutions(model), *of_one_query, products[-1]]
    _give_three_sides(model, {*products} - {*in_float})
    with TemporaryDirectory(prefix="seesay-") as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        # It would ask for a step that is done here already, as normalisations are in the weights.
        onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
        source.write_bytes(model.SerializeToString())
        quantize_static(
            source,
            target,
            Inputs(model.graph.input[0].name),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul", "Conv", "Relu"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=in_float,
            extra_options={"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": ["MatMul"]},
        )
        return target.read_bytes()


def _small_convolutions(model: Any) -> list[str]:
    """Names of an ONNX model's convolutions that have next to none of an average one's multiplications."""
    import onnx

    shaped = onnx.shape_inference.infer_shapes(model).graph
    sides = {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in shaped.value_info}
    kernels = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    count = {
        node.name: math.prod(kernels[node.input[1]]) * math.prod(sides[node.output[0]][2:])
        for node in model.graph.node
        if node.op_type == "Conv"
    }
    return [name for name, number in count.items() if number * len(count) <= SMALL_SHARE * sum(count.values())]


def _give_three_sides(model: Any, names: set[str]) -> None:
    """An ONNX model's products of (N, W) with weights, if named, become those of (N, 1, W): with their bias behind them
    ONNX Runtime would make them Gemm, for which it widens the weights at each call."""
    import onnx

    shaped = onnx.shape_inference.infer_shapes(model).graph
    flat = {value.name for value in shaped.value_info if len(value.type.tensor_type.shape.dim) == 2}
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        output = node.output[0]
        if node.op_type == "MatMul" and node.name in names and output in flat:
            nodes.insert(-1, onnx.helper.make_node("Reshape", [node.input[0], "three_sides"], [f"{output}_in"]))
            nodes.append(onnx.helper.make_node("Reshape", [f"{output}_out", "two_sides"], [output]))
            node.input[0], node.output[0] = f"{output}_in", f"{output}_out"
    if len(nodes) > len(model.graph.node):  # ONNX Runtime warns of a tensor that nobody reads
        for name, sides in (("three_sides", [0, 1, -1]), ("two_sides", [0, -1])):
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(sides, np.int64), name))
    made = copy.deepcopy(nodes)
    del model.graph.node[:]
    model.graph.node.extend(made)


def in_int8_of_openvino(graph: bytes, inputs: Sequence[np.ndarray], *, first: int) -> Any:
    """OpenVINO's model of an ONNX file, whose products with weights are of 8-bit integers; their ranges are those that
    the inputs give, (N, 3, S, S) or (N, L).

    By OpenVINO's own calibrator, nncf, with the smallest and the largest number seen: by its means of these a trained
    ViT's rows have a cosine of 0.986 at worst in place of 0.9988, and the box's of 0.85. Nor are channels evened out,
    which took the ViT to 0.973 (benchmarks/2026-11-29-engines).
    What makes rows of unit length stays in float32, as do the `first` layers, and beside convolutions sums and the last
    layer. There biases make up for what rounding does to a layer's mean, one layer after the other; in transformers all
    at once, as the other takes minutes.
    """
    import openvino  # pyright: ignore[reportMissingImports]

    nncf = calibrator_of_openvino()
    model = openvino.Core().read_model(graph)
    _make_biases_constant(model)
    weighted = [
        each.get_friendly_name()
        for each in model.get_ordered_ops()
        if each.get_type_name() in ("MatMul", "Convolution")
        and each.input_value(1).get_node().get_type_name() == "Constant"
    ]
    quantization = nncf.quantization
    advanced = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=quantization.range_estimator.RangeEstimatorParametersSet.MINMAX,
        smooth_quant_alphas=quantization.advanced_parameters.AdvancedSmoothQuantParameters(matmul=-1),
    )
    kind: dict[str, Any] = {}
    kept, others = weighted[:first], []
    if _has_convolutions(graph):
        kept, others = [*kept, weighted[-1]], ["Add"]
        kind = {"fast_bias_correction": False}
    else:
        # Activations have the same range on both sides of 0, for which a product takes less time.
        kind = {"model_type": nncf.ModelType.TRANSFORMER, "preset": nncf.QuantizationPreset.PERFORMANCE}
    ignored = nncf.IgnoredScope(names=kept, types=[*UNIT_LENGTH, *others], validate=False)
    # It draws its progress on the standard output.
    with contextlib.redirect_stdout(io.StringIO()), telling_nobody(nncf):
        made = nncf.quantize(
            model,
            nncf.Dataset(list(inputs)),
            subset_size=len(inputs),
            ignored_scope=ignored,
            advanced_parameters=advanced,
            **kind,
        )
    _round_attention(made, openvino.Core().read_model(graph), inputs)
    _round_tiles(made)
    return made


def _make_biases_constant(model: Any) -> None:
    """The biases of convolutions as nncf knows them, (1, C, 1, 1): of those that are shaped in the graph, as OpenVINO
    reads ONNX, it sees none and corrects none."""
    from openvino import opset13  # pyright: ignore[reportMissingImports]

    for node in model.get_ordered_ops():
        if node.get_type_name() == "Add" and node.input_value(0).get_node().get_type_name() == "Convolution":
            bias = node.input_value(1).get_node()
            while bias.get_type_name() in SHAPING:
                bias = bias.input_value(0).get_node()
            if bias.get_type_name() == "Constant":  # else it is a sum of two branches
                constant = opset13.constant(bias.get_data().reshape(1, -1, 1, 1))
                node.input(1).replace_source_output(constant.output(0))
    model.validate_nodes_and_infer_types()


def _round_attention(made: Any, model: Any, inputs: Sequence[np.ndarray]) -> None:
    """Shares and values of attention over few positions in 8 bits, where nncf has left them in float32; ranges are
    those of the model before."""
    import openvino  # pyright: ignore[reportMissingImports]
    from openvino import opset13  # pyright: ignore[reportMissingImports]

    products, left = _products_of_attention(model), _products_of_attention(made)
    if not products or len(left) != len(products):
        return
    values = [product.input_value(side) for product in products for side in (0, 1)]
    probe = openvino.Model([opset13.result(value) for value in values], model.get_parameters(), "probe")
    run = openvino.Core().compile_model(probe, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    most = np.full(len(values), SMALLEST)
    for one in inputs:
        most = np.maximum(most, [np.abs(value).max() for value in run(one).to_tuple()])

    def rounded(target: Any, least: float, most: float, levels: int) -> None:
        source = target.get_source_output()
        shape = [1] * len(source.get_partial_shape())
        ends = [opset13.constant(np.full(shape, end, np.float32)) for end in (least, most)]
        target.replace_source_output(opset13.fake_quantize(source, *ends, *ends, levels).output(0))

    for product, share, value in zip(left, most[::2], most[1::2], strict=True):
        rounded(product.input(0), 0.0, share, 256)
        # Before heads are told apart, where the product that makes values rounds them itself.
        rounded(product.input_value(1).get_node().input_value(0).get_node().input(0), -value, value, 255)
    made.validate_nodes_and_infer_types()


def _round_tiles(model: Any) -> None:
    """Pixels are rounded once they are cut into tiles: the same numbers, which are moved faster so."""
    from openvino import opset13  # pyright: ignore[reportMissingImports]

    last = rounding = next(iter((pixels := model.input(0)).get_target_inputs())).get_node()
    while [each.get_node().get_type_name() in TILING for each in last.output(0).get_target_inputs()] == [True]:
        last = next(iter(last.output(0).get_target_inputs())).get_node()
    if rounding.get_type_name() != "FakeQuantize" or last is rounding:
        return
    ends = [opset13.constant(rounding.input_value(each).get_node().get_data().reshape(1)) for each in range(1, 5)]
    readers = last.output(0).get_target_inputs()
    next(iter(rounding.output(0).get_target_inputs())).replace_source_output(pixels)
    rounded = opset13.fake_quantize(last, *ends, rounding.get_attributes()["levels"])
    for reader in readers:
        reader.replace_source_output(rounded.output(0))
    model.validate_nodes_and_infer_types()


def _products_of_attention(model: Any) -> list[Any]:
    """The products of shares (N, H, L, L) and values (N, H, L, C) where L is no more than `MOST_POSITIONS`."""
    found = []
    for node in model.get_ordered_ops():
        inputs = [each.get_node() for each in node.input_values()]
        if node.get_type_name() == "MatMul" and [each.get_type_name() for each in inputs] == ["Softmax", "Transpose"]:
            length = inputs[0].get_output_partial_shape(0)[-1]
            if length.is_static and length.get_length() <= MOST_POSITIONS:
                found.append(node)
    return found


def _has_convolutions(graph: bytes) -> bool:
    """Whether an ONNX file has any."""
    import onnx

    return any(node.op_type == "Conv" for node in onnx.load_from_string(graph).graph.node)


def calibrator_of_openvino() -> Any:
    """The package nncf without what would tell its makers of each call, which it does without where that is missing."""
    telemetry = "openvino_telemetry"
    hidden = {name: module for name, module in sys.modules.items() if name == telemetry}
    sys.modules[telemetry] = None  # type: ignore[assignment]
    try:
        import nncf  # pyright: ignore[reportMissingImports]
    finally:
        del sys.modules[telemetry]
        sys.modules.update(hidden)
    nncf.set_log_level(logging.ERROR)
    return nncf


@contextlib.contextmanager
def telling_nobody(nncf: Any) -> Iterator[None]:
    """Inside, an nncf that the program had imported before tells its makers nothing either: it skips what raises."""
    telemetry = getattr(getattr(nncf, "telemetry", None), "telemetry", SimpleNamespace())
    sender = getattr(telemetry, "_impl", None)
    telemetry._impl = None
    try:
        yield
    finally:
        telemetry._impl = sender


# By the engine whose runtime reads what comes out, and the package that takes the ranges.
IN_INT8 = {"onnx": in_int8, "openvino": in_int8_of_openvino}
CALIBRATORS = {"onnx": "onnxruntime", "openvino": "nncf"}

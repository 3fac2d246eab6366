"""Graphs in 8-bit integers: ranges that harsher photos do not leave, biases and attention that the calibrator sees."""

import numpy as np
import pytest
import torch
from small_towers import TRANSFORMER, model_of

import seesay
from seesay.model.onnx_images import image_graph
from seesay.nets.architecture import Architecture, ResNetConfig
from seesay.nets.clip import build_clip
from seesay.tasks import export_int8

pytest.importorskip("onnx", reason="onnx is not installed: pip install 'seesay[onnx]'")


@pytest.fixture
def openvino():
    return pytest.importorskip("openvino", reason="openvino is not installed: pip install 'seesay[openvino]'")


def rows(openvino, model, pixels: np.ndarray) -> np.ndarray:
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(pixels)[0]


def kinds(model) -> list[str]:
    return [node.get_type_name() for node in model.get_ordered_ops()]


def drawn(own, count: int) -> np.ndarray:
    side = own.preprocess.size
    return np.random.default_rng(0).normal(size=(count, 3, side, side)).astype(np.float32)


def test_ranges_of_convolutions_are_taken_from_harsher_photos_too():
    pixels = torch.tensor([0, 64, 128, 192, 255], dtype=torch.uint8).expand(2, 3, 4, 5)
    conv, vit = (image_graph(own.name, own.clip) for own in (model_of("conv"), model_of("vit")))
    assert export_int8.for_ranges(pixels, vit) is pixels
    ranges = export_int8.for_ranges(pixels, conv)
    assert ranges.shape == (4, 3, 4, 5) and torch.equal(ranges[:2], pixels)
    assert ranges[2, 0, 0].tolist() == [0, 32, 128, 224, 255]


def test_nothing_is_rounded_twice_and_small_convolutions_not_at_all():
    """Of convolutions in ONNX Runtime what stands behind a ReLU is rounded, of matrix products what goes in alone."""
    import onnx

    box = seesay.load("box")
    for own, first in ((box, 0), (model_of("vit"), 0)):
        graph = image_graph(own.name, own.clip)
        nodes = onnx.load_from_string(export_int8.in_int8(graph, list(drawn(own, 2)[:, None]), first=first)).graph.node
        maker = {output: node for node in nodes for output in node.output}
        rounded = [maker[node.input[0]].op_type for node in nodes if node.op_type == "QuantizeLinear"]
        assert rounded and "MatMul" not in rounded
        before = {maker[node.input[0]].op_type for node in nodes if node.op_type == "Relu"}
        assert before <= {"Conv", "Add"}  # Conv: of a convolution in float32
        if own is box:
            in_float = {node.name for node in nodes if node.op_type == "Conv" and node.input[1] not in maker}
            assert in_float == set(export_int8._small_convolutions(onnx.load_from_string(graph)))
            assert len(in_float) == 3  # the first, of three channels, and two shortcuts of 1x1


def test_of_a_deep_resnet_few_convolutions_are_small():
    """RN50x64's layers: none of them has a hundredth of all multiplications."""
    import onnx

    config = ResNetConfig(image_size=64, width=8, layers=(3, 15, 36, 10), heads=4)
    clip = build_clip(Architecture(embed_dim=64, image=config, text=TRANSFORMER), seed=0)
    model = onnx.load_from_string(image_graph("deep", clip))
    assert sum(node.op_type == "Conv" for node in model.graph.node) > 190
    assert len(export_int8._small_convolutions(model)) < 10


def test_onnx_runtime_widens_no_weights_of_a_vit_at_each_call(tmp_path):
    """It would where a product of one row an image has its bias behind it, which it makes Gemm first."""
    import onnx
    import onnxruntime

    own, options = model_of("vit"), onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "as_it_runs.onnx")
    graph = image_graph(own.name, own.clip)
    made = export_int8.in_int8(graph, list(drawn(own, 2)[:, None]), first=0)
    onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
    runs = onnx.load(options.optimized_model_filepath).graph
    weights = {tensor.name for tensor in runs.initializer if len(tensor.dims) > 1}
    assert any(weights & {*node.input} for node in runs.node if node.op_type == "MatMulIntegerToFloat")
    assert not [node.name for node in runs.node if node.op_type == "DequantizeLinear" and weights & {*node.input}]


def layers(own) -> list[tuple[torch.nn.LayerNorm, torch.nn.Linear]]:
    blocks = [*own.clip.image_tower.blocks, *own.clip.text_tower.blocks]
    return [pair for block in blocks for pair in ((block.ln_1, block.attention.qkv), (block.ln_2, block.fc))]


@torch.no_grad()
def test_channels_that_are_far_wider_than_others_are_narrowed_and_rows_stay():
    own, texts = model_of("vit"), ["a cat", "two dogs"]
    shape, generator = (3, 3, own.preprocess.size, own.preprocess.size), torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    image, text = own.encode_pixels(pixels), own.encode_texts(texts)
    for norm, linear in layers(own):
        norm.weight[3] *= 100
        norm.bias[3] *= 100
        linear.weight[:, 3] /= 100
    other = export_int8.without_outliers(own, pixels, texts)
    for (wide, _), (narrowed, _) in zip(layers(own), layers(other), strict=True):
        assert wide.weight[3] > 5 * narrowed.weight[3] and torch.equal(wide.weight[:3], narrowed.weight[:3])
    for one in (own, other):
        assert torch.allclose(one.encode_pixels(pixels), image, atol=1e-5)
        assert torch.allclose(one.encode_texts(texts), text, atol=1e-5)


def test_the_calibrator_sees_the_bias_of_every_convolution(openvino):
    own = model_of("conv")
    graph, pixels = image_graph(own.name, own.clip), drawn(own, 2)
    model = openvino.Core().read_model(graph)
    right = rows(openvino, model, pixels)
    export_int8._make_biases_constant(model)
    behind = [
        reader.get_node()
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Convolution"
        for reader in node.output(0).get_target_inputs()
    ]
    assert behind and all(
        node.get_type_name() == "Add" and node.input_value(1).get_node().get_type_name() == "Constant"
        for node in behind
    )
    assert np.allclose(rows(openvino, model, pixels), right, atol=1e-6)


def test_pixels_are_rounded_behind_what_cuts_them_into_tiles(openvino, monkeypatch):
    pytest.importorskip("nncf", reason="nncf is not installed: pip install 'seesay[openvino]'")
    own = model_of("vit")
    graph, pixels = image_graph(own.name, own.clip), drawn(own, 3)
    made = export_int8.in_int8_of_openvino(graph, list(pixels[:, None]), first=0)
    monkeypatch.setattr(export_int8, "_round_tiles", lambda model: None)
    before = export_int8.in_int8_of_openvino(graph, list(pixels[:, None]), first=0)
    readers = [
        {each.get_node().get_type_name() for each in model.get_parameters()[0].output(0).get_target_inputs()}
        for model in (before, made)
    ]
    assert readers == [{"FakeQuantize"}, {"Reshape"}]
    assert np.array_equal(rows(openvino, made, pixels), rows(openvino, before, pixels))


def test_attention_over_few_positions_is_rounded_and_over_many_left(openvino, monkeypatch):
    own = model_of("vit")
    graph, pixels = image_graph(own.name, own.clip), drawn(own, 3)
    plain, made = openvino.Core().read_model(graph), openvino.Core().read_model(graph)
    right = rows(openvino, plain, pixels)
    export_int8._round_attention(made, plain, list(pixels[:, None]))
    # The last block has one query, whose shares nncf rounds by itself.
    assert kinds(made).count("FakeQuantize") == 2 * (kinds(plain).count("Softmax") - 1) > 0
    difference = np.abs(rows(openvino, made, pixels) - right).max()
    assert 0 < difference < 0.01
    monkeypatch.setattr(export_int8, "MOST_POSITIONS", 4)
    other = openvino.Core().read_model(graph)
    export_int8._round_attention(other, plain, list(pixels[:, None]))
    assert "FakeQuantize" not in kinds(other)

"""Rows of one model by every engine: near those of torch, and refused in one line where they cannot be had."""

import copy
import importlib.util
import pickle
from typing import get_args

import numpy as np
import pytest
import torch
from small_towers import TOWERS, model_of, pictures

import seesay
from seesay.base.errors import UsageError
from seesay.cli import embed, encode_options
from seesay.model import engines, int8
from seesay.model.adapters import with_adapter
from seesay.model.cache import image_fingerprint, space_fingerprint, text_fingerprint
from seesay.model.encode import features_of
from seesay.model.packed import PackedLinear
from seesay.model.reshape import reshape
from seesay.nets.block import ACTIVATIONS, Block

TEXTS = ["a photo of a cat", "", "Two dogs on a beach, seen from far above; 1 of them swims.", "a cat"]
GRAPH_ENGINES = [
    pytest.param(
        name, marks=pytest.mark.skipif(name not in engines.installed_engines(), reason=f"{name} is not installed")
    )
    for name in ("onnx", "openvino")
]


@pytest.mark.parametrize("engine", GRAPH_ENGINES)
@pytest.mark.parametrize("family", TOWERS)
def test_rows_and_features_are_those_of_torch_to_1e_5(family, engine):
    model = model_of(family)
    other = model.with_engine(engine)
    images = pictures(3, 40)
    assert (other.encode_images(images) - model.encode_images(images)).abs().max() < 1e-5
    assert (other.encode_images(images[:1]) - model.encode_images(images[:1])).abs().max() < 1e-5
    assert (other.encode_texts(TEXTS) - model.encode_texts(TEXTS)).abs().max() < 1e-5
    assert (other.encode_texts(TEXTS[1:2]) - model.encode_texts(TEXTS[1:2])).abs().max() < 1e-5
    pixels = torch.stack([model.preprocess.pixels(image) for image in images])
    right = features_of(model, pixels)
    assert (features_of(other, pixels) - right).abs().max() < 1e-5 * right.abs().max()


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("family", ["vit", "siglip", "resnet"])
def test_packed_blocks_give_the_rows_of_torch_and_leave_the_model_as_it_was(family, activation):
    model = model_of(family)
    for block in (module for module in model.clip.modules() if isinstance(module, Block)):
        block.activation = ACTIVATIONS[activation]
    before = {name: value.clone() for name, value in model.clip.state_dict().items()}
    other = model.with_engine("torch-packed")
    images = pictures(3, 40)
    assert (other.encode_images(images) - model.encode_images(images)).abs().max() < 1e-6
    assert (other.encode_texts(TEXTS) - model.encode_texts(TEXTS)).abs().max() < 1e-6
    assert all(torch.equal(value, before[name]) for name, value in model.clip.state_dict().items())
    assert not any(isinstance(module, PackedLinear) for module in model.clip.modules())
    assert any(isinstance(module, PackedLinear) for module in other.encoder.modules())


@pytest.mark.parametrize("engine", ["torch-packed", "torch-int8"])
def test_a_tower_without_blocks_is_said_to_stay_as_it_is(engine, capsys):
    model_of("vit").with_engine(engine)
    assert capsys.readouterr().err == ""
    model = model_of("resnet")
    other = model.with_engine(engine)
    assert capsys.readouterr().err == (
        f"note: {model.name}'s image tower has no transformer blocks, and is computed as by engine torch.\n"
    )
    images = pictures(2, 40)
    assert (other.encode_images(images) - model.encode_images(images)).abs().max() < 1e-6


@pytest.mark.parametrize("engine", GRAPH_ENGINES)
@pytest.mark.parametrize("family", TOWERS)
def test_a_text_that_was_cut_without_its_end_token_has_the_row_of_one_cut_before_it(family, engine):
    """As transformers.js cuts: with the end token goes what says where most towers read."""
    model = model_of(family)
    (right,) = model.tokenizer(["cat " * 40])
    cut = np.array([[*right[:-1], right[-2]]], dtype=np.int64)
    session = engines.OPENERS[engine](engines.text_graph(model.name, model.clip, model.tokenizer))
    assert len(right) == model.tokenizer.context and right[-1] != right[-2]
    assert np.abs(session(cut)[0] - model.encode_texts(["cat " * 40]).numpy()).max() < 1e-5


@pytest.mark.parametrize("engine", ["torch-int8", "torch-bf16"])
def test_rounded_engines_are_near(engine):
    model = model_of("vit")
    other = model.with_engine(engine)
    images = pictures(4, 40)
    rows, right = other.encode_images(images), model.encode_images(images)
    assert (rows * right).sum(1).min() > 0.99 and not torch.equal(rows, right)
    assert (other.encode_texts(TEXTS) * model.encode_texts(TEXTS)).sum(1).min() > 0.99


def test_the_model_it_is_called_on_stays_as_it_is_and_torch_leads_back():
    model = model_of("vit")
    other = model.with_engine("torch-int8")
    assert (model.engine, model.encoder, other.engine) == ("torch", None, "torch-int8")
    assert "by torch-int8" in repr(other) and "by torch" not in repr(model)
    back = other.with_engine("torch")
    assert torch.equal(back.encode_texts(TEXTS), model.encode_texts(TEXTS))
    assert other.with_engine("torch-int8") is other


@pytest.mark.parametrize("engine", ["torch-exact", "torch-packed", "torch-int8", "torch-bf16", *GRAPH_ENGINES])
def test_a_model_of_every_engine_is_copied_and_pickled(engine):
    model = model_of("vit").with_engine(engine)
    assert copy.copy(model).encoder is model.encoder
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other.encode_texts(TEXTS), model.encode_texts(TEXTS)) and repr(other) == repr(model)
        assert other.encoder is not model.encoder or engine == "torch-bf16"


def test_cached_rows_are_kept_by_engine_and_an_index_by_what_was_rounded():
    model = model_of("vit")
    each = [model.with_engine(name) for name in engines.installed_engines()]
    assert len({image_fingerprint(one) for one in each}) == len(each)
    assert space_fingerprint(model.with_engine("torch-int8")) != space_fingerprint(model)
    assert image_fingerprint(model.with_engine("torch")) == image_fingerprint(model)


def test_rows_that_were_cached_before_int8_is_rounded_otherwise_are_not_answered_with(monkeypatch):
    exact, rounded = model_of("vit"), model_of("vit").with_engine("torch-int8")
    before = [fingerprint(one) for fingerprint in (image_fingerprint, text_fingerprint) for one in (exact, rounded)]
    monkeypatch.setattr(int8, "__file__", __file__)
    int8.rounding_sha256.cache_clear()
    after = [fingerprint(one) for fingerprint in (image_fingerprint, text_fingerprint) for one in (exact, rounded)]
    int8.rounding_sha256.cache_clear()
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True, False]


def test_what_cannot_be_computed_is_refused_in_one_line(monkeypatch):
    model = model_of("conv")
    with pytest.raises(UsageError, match=r"engine 'onx' is not known. Nearest: onnx"):
        model.with_engine("onx")
    with pytest.raises(UsageError, match="no transformer blocks, and engine torch-int8 is for these"):
        model.with_engine("torch-int8")
    with pytest.raises(UsageError, match="computed by torch-int8, which has a precision of its own"):
        model_of("vit").with_engine("torch-int8").with_precision("bfloat16")
    with pytest.raises(UsageError, match="in bfloat16, and its exact weights are gone"):
        model.with_engine("torch-bf16").with_engine("torch")
    other = copy.copy(model)
    other.engine = "onnx"
    data = pickle.dumps(other)
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    for ask in (lambda: model.with_engine("onnx"), lambda: pickle.loads(data)):
        with pytest.raises(UsageError, match=r"onnx needs the package onnx, which is not installed.*seesay\[onnx\]"):
            ask()
    assert engines.installed_engines() == ["torch", "torch-exact", "torch-packed", "torch-int8", "torch-bf16"]
    monkeypatch.setattr(engines, "find_spec", importlib.util.find_spec)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "onnx", "precision": "bfloat16"}, "has a precision of its own"),
        ({"engine": "torch-int8", "device": "cuda"}, "computes on the CPU"),
    ],
)
def test_an_engine_goes_with_no_other_precision_and_no_gpu(options, message, monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: True)
    from seesay.model.hub import on_device

    with pytest.raises(UsageError, match=message):
        on_device("box", **options)


def test_torch_goes_with_a_precision():
    from seesay.model.hub import on_device

    model = model_of("vit")
    rounded = on_device(model, engine="torch", precision="bfloat16")
    assert (rounded.engine, rounded.precision) == ("torch", "bfloat16")
    assert on_device(rounded, engine="torch").precision == "bfloat16"
    again = on_device(model.with_engine("torch-int8"), engine="torch", precision="float16")
    assert (again.engine, again.precision, again.encoder) == ("torch", "float16", None)


@pytest.mark.parametrize(
    "use",
    [
        lambda model: seesay.finetune(model, "digits"),
        lambda model: with_adapter(model, "adapter"),
        lambda model: reshape(model, image_size=64),
        lambda model: seesay.convert(model, "converted", to="hf"),
        seesay.open_clip_like,
    ],
)
def test_what_changes_weights_takes_the_model_that_has_them(use, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = model_of("vit")
    with pytest.raises(UsageError, match=r"is computed by torch-int8, and is only to encode with; .* the model it was"):
        use(model.with_engine("torch-int8"))
    with pytest.raises(UsageError, match="is rounded to float16, and is only to encode with"):
        use(model.with_precision("float16"))
    assert not list(tmp_path.iterdir())


def test_an_engine_on_the_cpu_stays_there_wherever_the_model_goes():
    model = model_of("vit")
    other = model.with_engine("torch-int8")
    right = other.encode_texts(TEXTS)
    with pytest.raises(UsageError, match="by torch-int8, on the CPU; move the model it was made of"):
        other.to("cuda")
    model.clip.to("meta")
    assert other.to("cpu").device.type == "cpu" and torch.equal(other.encode_texts(TEXTS), right)


@pytest.mark.parametrize("option", [encode_options.Engine, embed.Engine])
def test_every_command_names_every_engine(option):
    choices, _ = get_args(get_args(option)[0])
    assert set(engines.ENGINES) <= set(get_args(choices))


@pytest.mark.parametrize("engine", GRAPH_ENGINES)
def test_the_box_answers_alike(engine):
    model = seesay.load("box")
    images = pictures(2, 64)
    labels = ["cat", "dog", "car"]
    one, other = (each.classify(images, labels) for each in (model, model.with_engine(engine)))
    assert [ranking.labels for ranking in one] == [ranking.labels for ranking in other]
    assert np.allclose(one[0].probabilities, other[0].probabilities, atol=1e-4)

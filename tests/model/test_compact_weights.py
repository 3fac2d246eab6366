"""Models whose weights stay as they are in their file, or rounded, and are float32 only while a layer computes."""

import copy
import pickle
import struct

import pytest
import torch
from safetensors.torch import save_file
from small_towers import TOWERS, model_of, pictures

import seesay
from seesay.base.errors import RefusedInput, UsageError
from seesay.model.cache import image_fingerprint, space_fingerprint, text_fingerprint
from seesay.model.compact_weights import describe_weights
from seesay.model.engines import refuse_altered
from seesay.model.hub import on_device
from seesay.nets.compact import WEIGHTS_DTYPES, Compact, CompactTable, FloatWeights, compacting

TEXTS = ["a photo of a cat", "", "two dogs"]


def rows_of(model, side=40):
    return torch.cat([model.encode_images(pictures(3, side)), model.encode_texts(TEXTS)])


def saved(folder, family="vit", dtype="float16"):
    model_of(family).save(folder / "saved", dtype=getattr(torch, dtype))
    return folder / "saved"


def compact_layers(model):
    return [layer for layer in model.clip.modules() if isinstance(layer, Compact)]


@pytest.mark.parametrize("family", TOWERS)
def test_rows_of_a_file_in_float16_are_those_of_its_ordinary_load(family, tmp_path):
    folder = saved(tmp_path, family)
    model, other = seesay.load(folder), seesay.load(folder, weights_dtype="float16")
    assert (rows_of(other) - rows_of(model)).abs().max() < 1e-6
    assert compact_layers(other) and all(layer.is_mapped for layer in compact_layers(other))
    assert {part.dtype for layer in compact_layers(other) for part in layer.parts()} == {torch.float16}
    assert repr(other) == repr(model).replace(">", ", weights in float16>")


@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_a_model_of_kept_weights_is_copied_and_pickled(kind, tmp_path):
    folder = saved(tmp_path)
    model = seesay.load(folder, weights_dtype=kind)
    data = pickle.dumps(model)
    for other in (copy.deepcopy(model), pickle.loads(data)):
        assert torch.equal(rows_of(other), rows_of(model)) and repr(other) == repr(model)
        assert len(compact_layers(other)) == len(compact_layers(model))
        assert not any(layer.is_mapped for layer in compact_layers(other))
    assert all(layer.is_mapped for layer in compact_layers(model)) == (kind == "float16")
    assert len(data) < len(pickle.dumps(seesay.load(folder))), "no layer has the whole file"


@pytest.mark.parametrize("layout", ["hf", "open_clip"])
def test_a_weight_that_a_file_has_in_parts_stays_in_them(layout, tmp_path):
    model_of("vit").save(tmp_path / "own", dtype=torch.float16)
    seesay.load(tmp_path / "own").save(tmp_path / "theirs", layout, dtype=torch.float16)
    model, other = seesay.load(tmp_path / "theirs"), seesay.load(tmp_path / "theirs", weights_dtype="float16")
    assert torch.equal(rows_of(other), rows_of(model))
    layers = compact_layers(other)
    assert all(layer.is_mapped for layer in layers)
    assert max(len(layer.parts()) for layer in layers) == (3 if layout == "hf" else 1)
    assert space_fingerprint(other) == space_fingerprint(model)


@pytest.mark.parametrize(
    ("kind", "allowed"), [("bfloat16", 2e-2), ("float16", 2e-3), ("int8", 4e-2), ("float32", 1e-6)]
)
@pytest.mark.parametrize("family", ["vit", "resnet", "siglip"])
def test_a_file_in_float32_is_rounded_while_it_is_read_or_mapped_in_float32(family, kind, allowed, tmp_path):
    folder = saved(tmp_path, family, "float32")
    model, other = seesay.load(folder), seesay.load(folder, weights_dtype=kind)
    difference = (rows_of(other) - rows_of(model)).abs().max()
    assert difference < allowed and (difference < 1e-6) == (kind == "float32")
    assert {part.dtype for layer in compact_layers(other) for part in layer.parts()} == {WEIGHTS_DTYPES[kind]}
    words = describe_weights(other)
    assert ("mapped from the file and shared" in words) == (kind == "float32")
    assert ("seesay convert --dtype" in words) == (kind in ("float16", "bfloat16"))


def test_integers_are_rounded_by_output_and_a_row_of_zeros_stays_so():
    layer, table = torch.nn.Linear(3, 4, device="meta"), torch.nn.Embedding(4, 3, device="meta")
    weight = torch.tensor([[1.27, -0.02, 0.006], [0.0, 0.0, 0.0], [-254.0, 2.0, 3.0], [1e-30, 0.0, 0.0]])
    tensors = {"0.weight": weight, "0.bias": torch.zeros(4), "1.weight": weight}
    both = torch.nn.Sequential(layer, table)
    from seesay.nets.compact import compact_weights

    both.load_state_dict(compact_weights(both, tensors, torch.int8), assign=True)
    right = torch.tensor([[1.27, -0.02, 0.01], [0.0, 0.0, 0.0], [-254.0, 2.0, 4.0], [0.0, 0.0, 0.0]])
    assert torch.allclose(layer.weight, right) and isinstance(table, CompactTable)
    assert torch.allclose(table(torch.tensor([[2, 0]])), right[[2, 0]])
    with torch.no_grad():
        assert torch.allclose(layer(torch.eye(3)), right.T)
    assert torch.equal(FloatWeights(both)["0.weight"], layer.weight)
    assert sorted(FloatWeights(both)) == sorted(tensors)


def test_integers_are_the_same_however_many_rows_are_rounded_at_once(monkeypatch):
    from seesay.nets import compact

    kernels = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(0)).half()
    layers, both = [torch.nn.Conv2d(3, 5, 2, bias=False, device="meta") for _ in range(2)], []
    for layer, at_once in zip(layers, (1000, 30), strict=True):
        monkeypatch.setattr(compact, "AT_ONCE", at_once)
        layer.load_state_dict(compact.compact_weights(layer, {"weight": kernels}, torch.int8), assign=True)
        both.append(layer.weight)
    assert torch.equal(both[0], both[1])
    assert torch.allclose(both[0], kernels.float(), atol=float(kernels.abs().max()) / 200)


def test_explain_and_a_head_that_reads_its_table_go_with_kept_weights(tmp_path, predictor):
    folder = saved(tmp_path)
    one, other = (
        seesay.load(folder, weights_dtype=kind).explain(pictures(1, 40)[0], "a cat") for kind in (None, "float16")
    )
    assert torch.allclose(torch.as_tensor(one.heat_HW), torch.as_tensor(other.heat_HW), atol=1e-6)
    predictor("caption").save(tmp_path / "head", dtype=torch.float16)
    one, other = (
        model.log_likelihoods(model.encode_images(pictures(2, 16)), model.prepare(["a cat", "two dogs"]))
        for model in (seesay.load(tmp_path / "head", weights_dtype=kind) for kind in (None, "float16"))
    )
    assert torch.allclose(one, other, atol=1e-5)


def test_vectors_of_a_file_in_that_dtype_are_of_the_same_space_and_rounded_ones_of_another(tmp_path):
    folder = saved(tmp_path)
    model = seesay.load(folder)
    for fingerprint in (image_fingerprint, space_fingerprint, text_fingerprint):
        assert fingerprint(seesay.load(folder, weights_dtype="float16")) == fingerprint(model)
        assert fingerprint(seesay.load(folder, weights_dtype="int8")) != fingerprint(model)


@pytest.mark.parametrize(
    "use",
    [
        lambda model, folder: model.save(folder / "new"),
        lambda model, folder: model.with_precision("bfloat16"),
        lambda model, folder: model.with_engine("torch-int8"),
        lambda model, folder: seesay.convert(model, folder / "new", to="hf"),
        lambda model, folder: refuse_altered(model, "train"),
    ],
)
def test_they_are_only_to_encode_with(use, tmp_path):
    model = seesay.load(saved(tmp_path), weights_dtype="float16")
    with pytest.raises(UsageError, match="keeps its weights in float16, and is only to encode with; load it without"):
        use(model, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights_dtype": "fp16"}, "weights_dtype 'fp16' is not known. Nearest: float16. Known: float32, float16"),
        ({"weights_dtype": "int4"}, "weights_dtype 'int4' is not known. Nearest: int8"),
        (
            {"weights_dtype": "int8", "engine": "onnx"},
            "engine onnx makes weights of its own; leave weights_dtype int8 out",
        ),
        ({"weights_dtype": "int8", "precision": "bfloat16"}, "precision bfloat16 rounds the weights itself; leave"),
    ],
)
def test_what_does_not_go_together_is_refused_before_a_model_is_loaded(options, message):
    with pytest.raises(UsageError, match=message):
        on_device("no such model", **options)


def test_a_model_that_is_loaded_keeps_what_it_has():
    with pytest.raises(UsageError, match="give it to load"):
        on_device(model_of("vit"), weights_dtype="int8")


def test_numbers_beyond_float16_are_refused_by_name(tmp_path):
    model = model_of("vit")
    model.clip.state_dict()["text_tower.blocks.0.fc.weight"][3, 4] = 7e4
    model.save(tmp_path / "large")
    with pytest.raises(
        RefusedInput, match=r"text_tower.blocks.0.fc.weight holds numbers beyond float16; take bfloat16"
    ):
        seesay.load(tmp_path / "large", weights_dtype="float16")
    assert seesay.load(tmp_path / "large", weights_dtype="bfloat16").weights_dtype == "bfloat16"


def test_a_mapped_file_is_checked_as_one_that_is_read(tmp_path):
    folder = saved(tmp_path)
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(RefusedInput, match="is not the file its model folder was saved with"):
        seesay.load(folder, weights_dtype="float16")
    path.write_bytes(whole[:-2])
    with pytest.raises(RefusedInput, match="truncated or damaged"):
        seesay.load(folder, weights_dtype="float16")


def test_tensors_at_odd_places_of_a_file_are_read_all_the_same(tmp_path):
    from seesay.model.weights import read_tensors

    path, right = tmp_path / "odd.safetensors", {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(3)}
    save_file(right, path)
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    path.write_bytes(struct.pack("<Q", length + 1) + content[8 : 8 + length] + b" " + content[8 + length :])
    with compacting(torch.float32):
        found = read_tensors(path, right)
    assert all(torch.equal(found[name], right[name]) for name in right)

"""A conversion proves itself, or leaves nothing behind."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seesay.base.errors import SeesayError, UsageError
from seesay.model import convert as module
from seesay.model.bundle import Model
from seesay.model.convert import convert
from seesay.model.hub import load


def test_a_model_written_in_our_own_layout_differs_by_nothing(model: Model, tmp_path: Path):
    proof = convert(model, tmp_path / "new", to="seesay")
    assert (proof.images, proof.texts) == (0, 0)
    assert torch.equal(load(tmp_path / "new").encode_texts(["a dog"]), model.encode_texts(["a dog"]))


def test_a_folder_that_holds_something_is_not_replaced(model: Model, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    convert(model, tmp_path / "photos", to="seesay")
    with pytest.raises(UsageError, match="photos exists and is not empty"):
        convert(model, tmp_path / "photos", to="seesay")


@pytest.mark.parametrize("which", ["images", "texts"])
def test_a_proof_that_is_no_number_proves_nothing(which: str, model: Model, tmp_path: Path, monkeypatch):
    found = {"images": 0.0, "texts": 0.0} | {which: float("nan")}
    monkeypatch.setattr(module, "compare", lambda *_: module.Proof(**found))
    with pytest.raises(SeesayError, match=r"is not written: its embeddings would differ by .*nan"):
        convert(model, tmp_path / "new", to="seesay")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tower", ["image_tower", "text_tower"])
def test_a_result_that_embeds_differently_is_not_written(tower: str, model: Model, tmp_path: Path, monkeypatch):
    def changed(folder: Path) -> Model:
        again = load(folder)
        getattr(again.clip, tower).projection.data[0] += 1e-3
        return again

    monkeypatch.setattr(module, "load_folder", changed)
    with pytest.raises(SeesayError, match=r"new is not written: its embeddings would differ by"):
        convert(model, tmp_path / "new", to="seesay")
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_loaded_by_name_and_the_proof_is_one_line(folder: Path, tmp_path: Path):
    proof = convert(str(folder), str(tmp_path / "new"), to="seesay")
    assert repr(proof) == "<Proof: largest difference 0.0e+00 (images), 0.0e+00 (texts)>"
    assert torch.equal(load(tmp_path / "new").encode_texts(["a dog"]), load(folder).encode_texts(["a dog"]))
    with pytest.raises(UsageError, match="no folder and no known name"):
        convert("no-such-model", tmp_path / "newer", to="seesay")


@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.0), ("float16", 1e-6), ("bfloat16", 1e-5)])
def test_weights_may_be_rounded_and_the_difference_is_told(dtype: str, least: float, model: Model, tmp_path: Path):
    proof = convert(model, tmp_path / "out", to="seesay", dtype=dtype)
    assert least <= max(proof.images, proof.texts) < 0.08
    kinds = {tensor.dtype for tensor in load_file(tmp_path / "out" / "model.safetensors").values()}
    assert {kind for kind in kinds if kind.is_floating_point} == {getattr(torch, dtype)}


def test_a_dtype_that_is_none_is_refused(model: Model, tmp_path: Path):
    with pytest.raises(UsageError, match="dtype is 'int8'; a model is written in float32, float16, bfloat16"):
        convert(model, tmp_path / "out", to="seesay", dtype="int8")

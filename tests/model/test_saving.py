"""Saving never removes what is not a model's, and numbers that are none are refused rather than handed on."""

import errno
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.model.bundle import Model
from seesay.model.convert import convert
from seesay.model.encode import embeddings_of, features_of
from seesay.model.hub import load
from seesay.model.layouts import FILE_NAMES


@pytest.mark.parametrize("stranger", ["thesis.txt", "notes/page.txt", "config.json/x", ".hidden"])
def test_a_folder_with_anything_else_in_it_is_left_alone(stranger: str, model: Model, folder: Path):
    (folder / stranger).parent.mkdir(exist_ok=True)
    (folder / stranger).write_text("years of work")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=r"model holds .*, which is not of a model; choose an empty or new folder"):
        model.save(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_model_of_a_newer_seesay_is_refused_and_left_as_it_is(model: Model, tmp_path: Path):
    """F-X5."""
    model.save(tmp_path / "model")
    description = tmp_path / "model" / "model.json"
    description.write_text(json.dumps(json.loads(description.read_text()) | {"format": 2}))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RefusedInput, match="has format 2, this seesay reads 1; update seesay"):
        load(tmp_path / "model")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_model_takes_the_place_of_an_empty_folder_and_of_a_model_of_any_layout(model: Model, tmp_path: Path):
    (tmp_path / "model").mkdir()
    for _ in range(2):
        model.save(tmp_path / "model")
    for name in FILE_NAMES:
        (tmp_path / "model" / name).write_text("an older model")
    model.save(tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"model.json", "model.safetensors"}


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_a_dtype_that_is_not_read_again_is_not_saved(dtype: torch.dtype, model: Model, tmp_path: Path):
    with pytest.raises(UsageError, match="a model is saved in float64, float32, float16, bfloat16"):
        model.save(tmp_path / "new", dtype=dtype)
    assert list(tmp_path.iterdir()) == []


def test_a_factor_on_cosines_that_is_not_finite_is_refused_on_loading(model: Model, tmp_path: Path):
    model.clip.logit_scale.data.fill_(1000.0)
    model.save(tmp_path / "new")
    with pytest.raises(RefusedInput, match="logit_scale of 1000, whose exp is not finite"):
        load(tmp_path / "new")


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_embeddings_that_are_no_numbers_are_refused(number: float, model: Model):
    for tower in (model.clip.image_tower, model.clip.text_tower):
        tower.projection.data.fill_(number)
    with pytest.raises(RefusedInput, match="embeddings are not numbers; its weights are damaged"):
        model.encode_images([np.full((16, 16, 3), 200, dtype=np.uint8)])
    with pytest.raises(RefusedInput, match="embeddings are not numbers; its weights are damaged"):
        model.encode_texts(["a red dog"])


@pytest.mark.parametrize("batch_size", [0, -1])
def test_no_images_at_a_time_are_refused(batch_size: int, model: Model):
    with pytest.raises(UsageError, match=f"batch_size is {batch_size}"):
        model.encode_images([np.zeros((16, 16, 3), dtype=np.uint8)], batch_size=batch_size)


@pytest.mark.parametrize("largest", [1.7e19, 0.0])
def test_embeddings_without_a_direction_are_refused_in_every_way_to_them(largest: float, model: Model, tmp_path: Path):
    model.clip.text_tower.token_embedding.weight.data.mul_(1e3)
    model.clip.image_tower.stem[4].weight.data.mul_(1e3)
    for tower in (model.clip.image_tower, model.clip.text_tower):
        tower.projection.data.mul_(largest / tower.projection.abs().max())
    image = np.full((16, 16, 3), 200, dtype=np.uint8)
    features_1W = features_of(model, model.preprocess.read(image)[None])
    for encode in (
        lambda: model.encode_images([image]),
        lambda: model.encode_texts(["a red dog"]),
        lambda: embeddings_of(model, features_1W),
        lambda: convert(model, tmp_path / "new", to="seesay"),
    ):
        with pytest.raises(RefusedInput, match="embeddings have length 0 in place of 1"):
            encode()
    assert list(tmp_path.iterdir()) == []


def test_features_that_are_no_numbers_are_refused(model: Model):
    model.clip.image_tower.stem[0].weight.data.fill_(math.nan)
    with pytest.raises(RefusedInput, match="are not numbers; its weights are damaged"):
        features_of(model, torch.zeros(1, 3, 16, 16, dtype=torch.uint8))


def test_a_weight_whose_square_is_not_finite_is_named_on_loading(model: Model, tmp_path: Path):
    model.clip.image_tower.projection.data[0, 0] = -3e38
    model.save(tmp_path / "new")
    with pytest.raises(RefusedInput, match=r"image_tower\.projection holds -3e\+38, whose square is not finite"):
        load(tmp_path / "new")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_factor_in_the_description_has_to_be_that_of_the_weights(dtype: torch.dtype, model: Model, tmp_path: Path):
    model.clip.logit_scale.data.fill_(4.59)
    model.save(tmp_path / "new", dtype=dtype)
    path = tmp_path / "new" / "model.json"
    config = json.loads(path.read_text())
    assert config["logit_scale"] == load(tmp_path / "new").logit_scale
    # Older files have it as it was before rounding.
    path.write_text(json.dumps(config | {"logit_scale": model.logit_scale}))
    assert load(tmp_path / "new").logit_scale == config["logit_scale"]
    path.write_text(json.dumps(config | {"logit_scale": 110.0}))
    with pytest.raises(RefusedInput, match=r"model\.json has a logit_scale of 110, its weights one of"):
        load(tmp_path / "new")


SAVES = [lambda model, place: model.save(place), lambda model, place: convert(model, place, to="seesay")]


@pytest.mark.parametrize("save", SAVES, ids=["save", "convert"])
@pytest.mark.parametrize(
    ("owner", "call", "code", "told"),
    [
        (os, "mkdir", errno.EROFS, "the file system is read-only"),
        (os, "mkdir", errno.EACCES, "permission is denied"),
        (Path, "write_bytes", errno.ENOSPC, "the disk is full"),
    ],
)
def test_a_disk_that_says_no_is_a_storage_error(
    save, owner, call, code, told, model: Model, tmp_path: Path, monkeypatch
):
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(owner, call, fail)
    with pytest.raises(StorageError, match=f"new cannot be written: {told}") as refused:
        save(model, tmp_path / "new")
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("save", SAVES, ids=["save", "convert"])
def test_the_next_save_removes_what_a_killed_one_left_and_nothing_of_a_live_one(save, model: Model, tmp_path: Path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    kept = [f".new.tmp-{os.getppid()}-01234567", f".other.tmp-{child.pid}-01234567"]
    for name in (f".new.tmp-{child.pid}-01234567", *kept):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"half")
    save(model, tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"new", *kept}

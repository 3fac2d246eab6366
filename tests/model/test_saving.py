"""Saving never removes what is not a model's, and numbers that are none are refused rather than handed on."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from seesay.base.errors import RefusedInput, UsageError
from seesay.model.bundle import Model
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

"""What transformers 5 writes: weights in several files with an index, and processor_config.json."""

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers_folders import FILES, INDEX, nest, split

from seesay.base.errors import RefusedInput, StorageError
from seesay.model.bundle import Model
from seesay.model.hub import load

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def same(one: Model, other: Model) -> bool:
    return all(torch.equal(tensor, other.clip.state_dict()[name]) for name, tensor in one.clip.state_dict().items())


@pytest.fixture
def folder(vit: Model, tmp_path: Path) -> Path:
    vit.save(tmp_path / "model", "hf")
    split(tmp_path / "model")
    return tmp_path / "model"


def point(folder: Path, change) -> None:
    index = json.loads((folder / INDEX).read_text())
    (folder / INDEX).write_text(json.dumps(change(index)))


def test_weights_in_several_files_are_one_model(folder: Path, vit: Model, siglip: Model, tmp_path: Path):
    assert same(load(folder), vit)
    siglip.save(tmp_path / "siglip", "hf")
    split(tmp_path / "siglip")
    assert same(load(tmp_path / "siglip"), siglip)
    vit.save(tmp_path / "open_clip", "open_clip")
    split(tmp_path / "open_clip", "open_clip_model.safetensors")
    assert same(load(tmp_path / "open_clip"), vit)


def test_the_one_file_goes_before_an_index(folder: Path, vit: Model, tmp_path: Path):
    vit.save(tmp_path / "whole", "hf")
    (tmp_path / "whole" / "model.safetensors").rename(folder / "model.safetensors")
    (folder / FILES[0]).unlink()
    assert same(load(folder), vit)


@pytest.mark.parametrize("lost", FILES)
def test_a_file_of_several_that_is_lost_is_named(folder: Path, lost: str):
    (folder / lost).unlink()
    with pytest.raises(RefusedInput, match=rf"{lost} is missing; the model folder is incomplete"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: {}, "has no weight_map"),
        (lambda index: [], "has no weight_map"),
        (lambda index: {"weight_map": {}}, "has no weight_map"),
        (lambda index: {"weight_map": ["model.safetensors"]}, "has no weight_map"),
        (lambda index: {"weight_map": {"a": "../model.safetensors"}}, "names '../model.safetensors', which is no"),
        (lambda index: {"weight_map": {"a": "/etc/passwd"}}, "names '/etc/passwd', which is no safetensors file"),
        (lambda index: {"weight_map": {"a": "a/b.safetensors"}}, "which is no safetensors file beside it"),
        (lambda index: {"weight_map": {"a": ""}}, "names '', which is no safetensors file beside it"),
        (lambda index: {"weight_map": {"a": "..safetensors"}}, "which is no safetensors file beside it"),
        (lambda index: {"weight_map": {"a": "model.bin"}}, "which is no safetensors file beside it"),
        (lambda index: {"weight_map": {"a": 3}}, "names '3', which is no safetensors file"),
        (lambda index: {"weight_map": {str(n): f"{n}.safetensors" for n in range(300)}}, "names 300 files, more than"),
        (lambda index: {"weight_map": {"a": FILES[0]}}, "does not fit its architecture: missing"),
    ],
)
def test_an_index_that_leads_elsewhere_or_nowhere_is_refused(folder: Path, change, message: str):
    point(folder, change)
    with pytest.raises(RefusedInput, match=message):
        load(folder)


def test_an_index_that_is_no_json_is_refused(folder: Path):
    (folder / INDEX).write_bytes(b"\xff{")
    with pytest.raises(RefusedInput, match="is no valid JSON"):
        load(folder)


def test_a_weight_in_two_files_is_refused(folder: Path):
    first, second = (load_file(folder / file) for file in FILES)
    save_file(second | {"logit_scale": torch.tensor(1.0)}, folder / FILES[1])
    save_file(first | {"logit_scale": torch.tensor(2.0)}, folder / FILES[0])
    with pytest.raises(
        RefusedInput, match=r"00002\.safetensors has 'logit_scale', which another file of the model has"
    ):
        load(folder)


def test_one_file_that_is_cut_is_named(folder: Path):
    data = (folder / FILES[1]).read_bytes()
    (folder / FILES[1]).write_bytes(data[:-4])
    with pytest.raises(RefusedInput, match=r"model-00002-of-00002\.safetensors is \d+ bytes"):
        load(folder)


def test_several_files_of_the_hub_are_found_in_its_cache(folder: Path, vit: Model, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "hub" / "models--somebody--large"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "snapshots").mkdir()
    folder.rename(repository / "snapshots" / COMMIT)
    assert same(load("hf:somebody/large"), vit)
    (repository / "snapshots" / COMMIT / FILES[1]).unlink()
    with pytest.raises(StorageError, match="hf:somebody/large is not in the cache"):
        load("hf:somebody/large")


# processor_config.json


def test_images_are_prepared_as_the_newer_file_says(folder: Path, vit: Model):
    nest(folder)
    preprocess = vit.preprocess.model_copy(update={"crop": "transformers"})
    assert load(folder).preprocess == preprocess, "the same in both"
    (folder / "preprocessor_config.json").unlink()
    assert load(folder).preprocess == preprocess
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "CLIPProcessor"}))
    with pytest.raises(RefusedInput, match=r"preprocessor_config\.json is missing"):
        load(folder)


def test_two_files_that_do_not_agree_are_refused(folder: Path):
    nest(folder, image_mean=[0.5, 0.5, 0.5])
    with pytest.raises(RefusedInput, match=r"processor_config\.json and .* prepare images in two ways; remove one"):
        load(folder)
    nest(folder, image_processor_type="CLIPImageProcessorPil", do_convert_rgb=True)
    load(folder)


def test_a_fault_in_the_newer_file_is_told_by_its_name(folder: Path):
    nest(folder, size={"longest_edge": 16})
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(RefusedInput, match=r"[^e]processor_config\.json resizes to"):
        load(folder)
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": [1]}))
    with pytest.raises(RefusedInput, match=r"[^e]processor_config\.json"):
        load(folder)

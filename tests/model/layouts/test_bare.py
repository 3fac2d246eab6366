"""A single file is one of the paper's sizes, told by its shapes, with an activation that somebody names."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from seesay.base.errors import RefusedInput, UsageError
from seesay.model.bundle import Model
from seesay.model.hub import load
from seesay.model.layouts import bare
from seesay.nets.presets import PAPER_SIZES, PRESETS


@pytest.fixture
def file(vit: Model, resnet: Model, tmp_path: Path, monkeypatch) -> Path:
    """OpenAI's names, with the vocabulary beside; the two small models stand for the paper's sizes."""
    for name, model in (("ViT-B/32", vit), ("RN50", resnet)):
        monkeypatch.setitem(PRESETS, name, model.architecture)
    monkeypatch.setattr(bare, "PAPER_SIZES", ("RN50", "ViT-B/32"))
    vit.save(tmp_path / "folder", "open_clip")
    (tmp_path / "alone").mkdir()
    (tmp_path / "folder" / "merges.txt").rename(tmp_path / "alone" / "merges.txt")
    (tmp_path / "folder" / "open_clip_model.safetensors").rename(tmp_path / "alone" / "weights.safetensors")
    return tmp_path / "alone" / "weights.safetensors"


def equal(one: Model, other: Model) -> bool:
    return all(torch.equal(tensor, other.clip.state_dict()[name]) for name, tensor in one.clip.state_dict().items())


def test_a_file_in_openais_names_is_the_model_once_its_activation_is_said(file: Path, vit: Model):
    loaded = load(file, activation="quick_gelu")
    assert equal(loaded, vit) and loaded.architecture == vit.architecture
    assert loaded.preprocess.size == 16 and loaded.name == "weights"
    assert load(file, activation="gelu").architecture.text.activation == "gelu"
    (file.parent / "merges.txt").rename(file.parent.parent / "words.txt")
    assert equal(load(file, activation="quick_gelu", tokenizer=file.parent.parent / "words.txt"), vit)


def test_an_activation_is_never_guessed(file: Path):
    with pytest.raises(RefusedInput, match=r"does not say its activation.*activation=.*open_clip_config\.json"):
        load(file)
    with pytest.raises(UsageError, match="activation 'relu' is not known"):
        load(file, activation="relu")


def test_wrapped_files_resnets_and_hugging_face_names_are_told_too(file: Path, vit: Model, resnet: Model, tmp_path):
    save_file({f"module.{name}": tensor for name, tensor in load_file(file).items()}, file)
    assert equal(load(file, activation="quick_gelu"), vit)
    for model, layout in ((resnet, "open_clip"), (vit, "hf")):
        model.save(tmp_path / layout, layout)
        (written,) = (tmp_path / layout).glob("*model.safetensors")
        written.replace(file)
        assert equal(load(file, activation="quick_gelu"), model)


def test_a_file_that_its_folder_describes_is_the_folders_model(file: Path, vit: Model, tmp_path: Path):
    vit.save(tmp_path / "whole", "hf")
    assert equal(load(tmp_path / "whole" / "model.safetensors"), vit)
    with pytest.raises(UsageError, match="names its activation itself"):
        load(tmp_path / "whole" / "model.safetensors", activation="gelu")


def test_shapes_of_no_known_size_and_names_of_no_clip_are_refused(file: Path):
    tensors = load_file(file)
    save_file(tensors | {"visual.positional_embedding": torch.ones(7, 32)}, file)
    with pytest.raises(RefusedInput, match=r"position table \(7, 32\).*as none of RN50, ViT-B/32"):
        load(file, activation="gelu")
    save_file({"weight": torch.ones(2)}, file)
    with pytest.raises(RefusedInput, match="holds no CLIP"):
        load(file, activation="gelu")
    torch.save({}, file)
    with pytest.raises(RefusedInput, match="is a Python pickle"):
        load(file, activation="gelu")


def test_no_two_of_the_papers_sizes_have_the_same_signature():
    assert len({bare._signature(PRESETS[name]) for name in PAPER_SIZES}) == len(PAPER_SIZES) == 9

"""`seesay convert` and `seesay models`, as a person meets them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seesay.cli.main import main
from seesay.model.build import build
from seesay.model.hub import load
from seesay.model.known_models import KNOWN


def run(capfd, *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    told = capfd.readouterr()
    return code, told.out, told.err


@pytest.mark.journey
def test_a_model_is_written_for_another_program_and_back_with_the_difference_told(tmp_path: Path, capfd):
    model = build("vit-small")
    model.architecture = model.architecture.model_copy(update={"widths": (64, 128)})
    model.templates, model.facts = ("a {}.", "the {}."), {"known_photos": {}, "training": {}}
    model.save(tmp_path / "mine")
    code, out, err = run(capfd, "convert", tmp_path / "mine", tmp_path / "theirs", "--to", "hf")
    crop, left_out = err.splitlines()
    assert code == 0 and crop.startswith("transformers crops one pixel beside the centre")
    assert left_out == (
        f"{tmp_path / 'theirs'} does not keep what SRC knows beside its weights: its 2 templates; that rows may "
        "be cut to 64, 128 numbers; its facts known_photos, training."
    )
    assert out == (
        f"{tmp_path / 'mine'} -> {tmp_path / 'theirs'} (hf); largest difference 0.0e+00 (images), 0.0e+00 (texts)\n"
    )
    code, out, err = run(capfd, "convert", tmp_path / "theirs", tmp_path / "back", "--to", "seesay")
    assert (code, err) == (0, "")
    mine, back = (load(tmp_path / name).clip.state_dict() for name in ("mine", "back"))
    assert all(tensor.equal(back[name]) for name, tensor in mine.items())


@pytest.mark.journey
def test_what_held_for_the_size_before_is_told(tmp_path: Path, capfd):
    model = build("vit-small")
    model.facts = {"evaluation": [], "known_photos": {}, "training": {}}
    model.save(tmp_path / "mine")
    code, _, err = run(capfd, "convert", tmp_path / "mine", tmp_path / "new", "--image-size", "72")
    assert code == 0 and "does not keep what SRC knows beside its weights: its facts evaluation, known_photos.\n" in err
    code, _, err = run(capfd, "convert", tmp_path / "mine", tmp_path / "hf", "--image-size", "72", "--to", "hf")
    assert code == 0 and "its facts evaluation, known_photos, training.\n" in err


def test_what_cannot_be_converted_says_so_in_one_line(tmp_path: Path, capfd):
    build("conv-tiny").save(tmp_path / "mine")
    code, _, err = run(capfd, "convert", tmp_path / "mine", tmp_path / "theirs", "--to", "open_clip")
    assert code == 2 and err.startswith("error: open_clip has no towers of the kinds conv and bag-of-words")
    code, _, err = run(capfd, "convert", tmp_path / "mine", tmp_path / "theirs")
    assert code == 2 and "--to" in err
    torch.save({}, tmp_path / "weights.bin")
    code, _, err = run(capfd, "convert", tmp_path / "weights.bin", tmp_path / "theirs", "--to", "hf")
    assert code == 4 and "seesay convert --from-pickle" in err
    assert not (tmp_path / "theirs").exists()


@pytest.mark.journey  # a pickle is read in a process of its own, which loads torch
def test_a_pickle_becomes_a_safetensors_file_in_a_step_of_its_own(tmp_path: Path, capfd):
    torch.save({"state_dict": {"module.weight": torch.arange(3.0)}}, tmp_path / "weights.pt")
    words = ("convert", "--from-pickle", "--force", tmp_path / "weights.pt", tmp_path / "new.safetensors")
    code, _, err = run(capfd, *words, "--to", "hf")
    assert code == 2 and "in a second step" in err
    assert run(capfd, *words)[0] == 0
    assert torch.equal(load_file(tmp_path / "new.safetensors")["weight"], torch.arange(3.0))


def test_models_are_listed_with_source_and_licence(capfd):
    code, out, _ = run(capfd, "models")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()[2:]}
    assert lines.keys() == {"box", *KNOWN}
    assert "hf:laion/CLIP-ViT-B-32-laion2B-s34B-b79K" in lines["laion/ViT-B-32"]
    assert lines["laion/ViT-B-32"].endswith("MIT")

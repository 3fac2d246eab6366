"""`seesay.explain`: removal on images that can be worked out by hand, concepts, the drawing, and the command."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

import seesay
from seesay.cli.main import main
from seesay.tasks.explain import blank, concepts_of, removal_of
from seesay.tasks.explain_image import explanation_png, word_lines


@pytest.fixture
def photo(tmp_path):
    """A red photo with a blue corner."""
    pixels = np.full((60, 80, 3), (200, 30, 30), np.uint8)
    pixels[:30, :40] = (30, 30, 200)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def test_blanked_cells_have_the_mean_colour_and_nothing_else_changes():
    pixels = torch.arange(3 * 16 * 16).reshape(3, 16, 16).remainder(251).to(torch.uint8)
    is_blank = torch.zeros(1, 2, 2, dtype=torch.bool)
    is_blank[0, 0, 1] = True
    blanked = blank(pixels, is_blank)[0]
    mean = pixels.float().mean((1, 2)).round()
    assert (blanked[:, :8, 8:].float() == mean[:, None, None]).all()
    assert torch.equal(blanked[:, 8:], pixels[:, 8:]) and torch.equal(blanked[:, :, :8], pixels[:, :, :8])


def test_removal_finds_the_cells_that_make_the_score(colour_model):
    """To a model of mean colours, and a text that is blue, the blue quarter is all that counts."""
    pixels = torch.zeros(3, 16, 16, dtype=torch.uint8)
    pixels[0], pixels[2, :8, :8], pixels[0, :8, :8] = 200, 200, 0
    heat = np.zeros((2, 2), np.float32)
    heat[0, 0] = 1
    removal = removal_of(colour_model, pixels, torch.tensor([0.0, 0.0, 1.0]), heat)
    assert removal.fall_GG.shape == (2, 2) and removal.fall_GG.argmax() == 0
    assert (removal.fall_GG.flatten()[1:] < 0).all(), "less red makes it bluer"
    assert removal.without_hottest < removal.without_coldest
    assert removal.agreement > 0.7, "the hottest cell falls most; how the three others come is a matter of rounding"
    # Where every cell is of the mean colour, blanking one changes nothing but the last bits of a row.
    grey = removal_of(colour_model, torch.full((3, 16, 16), 90, dtype=torch.uint8), torch.tensor([0.0, 0.0, 1.0]), heat)
    assert np.isnan(grey.agreement)


def test_concepts_are_those_that_an_image_was_made_of(colour_model):
    pixels = torch.zeros(3, 2, 2, dtype=torch.uint8)
    pixels[0] = 255
    names = [name for name, _ in concepts_of(colour_model, pixels, ["red", "green", "blue"])]
    assert names == ["red"]


@pytest.mark.journey
def test_the_verb_in_python_draws_and_tells_all(photo):
    explanation = seesay.explain(photo, "a red thing", contrast="a blue thing", concepts=["red", "blue", "cat"])
    assert explanation.heat_HW.shape == (60, 80) and explanation.removal.fall_GG.shape == (7, 7)
    value = json.loads(json.dumps(explanation.to_json(), allow_nan=False))
    assert value["contrast"] == "a blue thing" and len(value["heat"]) == 8
    image = Image.open(io.BytesIO(explanation_png(explanation, photo)))
    assert image.format == "PNG" and np.asarray(image.convert("L")).std() > 5


@pytest.mark.journey
def test_long_texts_are_drawn_in_several_lines(photo):
    explanation = seesay.load("box").explain(photo, "word " * 60)
    lines = word_lines(explanation.words)
    assert sum(map(len, lines)) == 60 and len(lines) > 2
    assert explanation_png(explanation, photo).startswith(b"\x89PNG")


@pytest.mark.journey
def test_the_command_writes_what_it_prints(photo, tmp_path, capsys):
    concepts = tmp_path / "concepts.txt"
    concepts.write_text("red\nblue\n")
    out, numbers = tmp_path / "why.png", tmp_path / "why.json"
    words = ["explain", str(photo), "a $red$ thing", "--contrast", "a blue thing", "--concepts", str(concepts)]
    assert main([*words, "--out", str(out), "--json", str(numbers)]) == 0
    text = capsys.readouterr().out
    assert "hottest quarter blanked" in text and "$red$" in text and "concepts:" in text
    assert out.read_bytes().startswith(b"\x89PNG")
    assert json.loads(numbers.read_text())["photo"] == str(photo)


@pytest.mark.journey
@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["missing.jpg", "a cat"], "missing.jpg"),
        (["PHOTO", " "], "word 2 after the verb is empty"),
        (["PHOTO", "a cat", "--out", "why.jpg"], "let its name end in .png"),
        (["PHOTO", "a cat", "--json", "why.csv"], "let its name end in .json"),
        (["PHOTO", "a cat", "--model", "no/such"], "no/such"),
    ],
)
def test_wrong_input_is_one_line(photo, words, error, capsys):
    assert main(["explain", *[str(photo) if word == "PHOTO" else word for word in words]]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert error in lines[-1] and lines[-1].startswith("error: ")


def test_one_concept_is_refused_and_an_empty_file_of_them(photo, tmp_path):
    with pytest.raises(seesay.UsageError, match="concepts are 1 name"):
        seesay.explain(photo, "a cat", concepts=["cat"])
    (tmp_path / "none.txt").write_text("\n")
    with pytest.raises(seesay.UsageError, match="has no concepts"):
        seesay.explain(photo, "a cat", concepts=tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("hottest", "agreement", "disagrees"), [(0.1, 0.5, False), (0.9, 0.5, True), (0.1, -0.1, True)]
)
def test_the_command_says_where_heat_and_removal_disagree(hottest, agreement, disagrees):
    from types import SimpleNamespace

    from seesay.cli.explain import as_text

    removal = SimpleNamespace(
        agreement=agreement, without_hottest=hottest, without_coldest=0.6, fall_GG=np.zeros((2, 2))
    )
    why = SimpleNamespace(
        score=0.7, contrast_score=None, contrast=None, text="a cat", words=(), removal=removal, concepts=()
    )
    assert ("trust removal" in as_text(why, "cat.png")) == disagrees

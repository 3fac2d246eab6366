"""How others lay out what they give away: parts, numbers before names, what a zip of macOS holds, addresses."""

from pathlib import Path

import pytest
from PIL import Image

from seesay.base.errors import UsageError
from seesay.data.evalsets import open_evalset
from seesay.data.pairs import open_pairs


@pytest.fixture
def classes(tmp_path: Path):
    """Makes folders with an image each and returns the one above them."""

    def make(*names: str) -> Path:
        for number, name in enumerate(names):
            (tmp_path / "set" / name).mkdir(parents=True)
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "set" / name / "a.png")
        return tmp_path / "set"

    return make


@pytest.mark.parametrize("parts", [("training_set", "test_set"), ("train", "eval"), ("Training", "validation_set")])
def test_parts_are_parts_by_all_their_usual_names(classes, parts):
    found = open_evalset(classes(*(f"{part}/{name}" for part in parts for name in ("cat", "dog"))))
    assert list(found.class_names) == ["cat", "dog"] and len(found) == 2


def test_parts_of_which_one_has_no_classes_are_not_two_classes(classes):
    with pytest.raises(UsageError, match=r"'test', 'train', as the parts of a set are called"):
        open_evalset(classes("train/cat", "train/dog", "test"))


@pytest.mark.parametrize(
    ("names", "called"),
    [
        (["001.Black_footed_Albatross", "002.Laysan_Albatross"], ["Black footed Albatross", "Laysan Albatross"]),
        (["n02085620-Chihuahua", "n02085782-Japanese_spaniel"], ["Chihuahua", "Japanese spaniel"]),
        (["1. cat", "2. dog"], ["cat", "dog"]),
        (["3 dogs", "4 dogs"], ["3 dogs", "4 dogs"]),
        (["2012 Audi", "2012 Fiat"], ["2012 Audi", "2012 Fiat"]),
        (["001.cat", "dog"], ["001.cat", "dog"]),
    ],
)
def test_a_number_before_every_name_is_no_part_of_it(classes, names, called):
    found = open_evalset(classes(*names))
    assert list(found.class_names) == called
    assert any("without the number" in note for note in found.notes) == (
        called != [name.replace("_", " ") for name in names]
    )


def test_numbers_behind_one_word_sort_as_numbers(classes):
    found = open_evalset(classes(*(f"class_{number}" for number in range(1, 12))))
    assert list(found.class_names) == [f"class {number}" for number in range(1, 12)]


def test_what_macos_packs_beside_is_no_class(classes):
    assert list(open_evalset(classes("cat", "dog", "__MACOSX")).class_names) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("s3://bucket/x.tar", "is an address"),
        ("https://example.org/x.tar", "is an address"),
        ("pipe:cat x.tar", "is an address"),
        ("captions.json", "as .jsonl"),
        ("captions.xlsx", "save it as CSV"),
        ("pairs.csv.gz", "gunzip"),
        ("pairs.zip", "unpack it"),
    ],
)
def test_what_is_no_source_is_answered_with_what_makes_one(tmp_path, monkeypatch, name, hint):
    monkeypatch.chdir(tmp_path)
    if ":" not in name:
        Path(name).write_bytes(b"PK")
    with pytest.raises(UsageError, match=hint):
        open_pairs([name])

from pathlib import Path

import pytest

from seesay.base.errors import UsageError
from seesay.data.class_names import CLASS_NAMES, class_prompts, edited_names, read_descriptions, repeated_names


@pytest.mark.parametrize(
    ("name", "count", "one_of_them"),
    [
        ("cifar10", 10, "automobile"),
        ("clevr_counts", 8, "10"),
        ("dtd", 47, "polka-dotted"),
        ("eurosat", 10, "residential buildings or homes or apartments"),
        ("fer2013", 7, ["surprised", "shocked", "spooked"]),
        ("kitti", 4, "a photo i took with no car."),
        ("mnist", 10, "7"),
        ("pets", 37, "wheaten terrier"),
        ("resisc45", 45, "mobile home park"),
        ("stl10", 10, "monkey"),
        ("voc2007", 20, "tvmonitor"),
    ],
)
def test_a_data_set_has_its_published_names(name: str, count: int, one_of_them):
    assert len(CLASS_NAMES[name]) == count
    assert one_of_them in CLASS_NAMES[name]


def test_names_of_a_known_set_take_the_place_of_its_own():
    assert edited_names(["0", "1"] * 5, "mnist") == list("0123456789")
    with pytest.raises(UsageError, match="'mnist' are for 10 classes, but the set has 3"):
        edited_names(["a", "b", "c"], "mnist")


def test_imagenet_is_edited_by_class_number():
    names = edited_names([f"class {number}" for number in range(1000)], "imagenet")
    assert (names[134], names[517], names[135]) == ("crane bird", "construction crane", "class 135")
    with pytest.raises(UsageError, match="1000 classes, but the set has 10"):
        edited_names(["a"] * 10, "imagenet")


def test_a_file_names_classes_line_by_line_with_commas_between_names(tmp_path: Path):
    file = tmp_path / "names.txt"
    file.write_text("happy, smiling\nsad\n")
    assert edited_names(["a", "b"], file) == [["happy", "smiling"], ["sad"]]
    with pytest.raises(UsageError, match=r"no known data set and no file.*Nearest: eurosat"):
        edited_names(["a"], "eurosad")


def test_prompts_are_every_name_in_every_template():
    assert class_prompts([["a", "b"], "c"], ["x {}", "{} y"]) == [("x a", "a y", "x b", "b y"), ("x c", "c y")]


def test_names_of_more_than_one_class_are_found_once_each():
    assert repeated_names(["missile", "sunglasses", "missile", ["dog", "sunglasses"], "cat"]) == [
        "missile",
        "sunglasses",
    ]
    assert repeated_names([["dog", "dog"], "cat"]) == []


@pytest.mark.parametrize("broken", [[""], [[]], [["a", " "]]])
def test_a_class_without_a_name_is_refused(broken):
    with pytest.raises(UsageError, match="give every class a name"):
        class_prompts(broken, ["{}"])


@pytest.mark.parametrize("text", ["[]", "{", '{"a": []}', '{"a": "one"}', '{"a": [1]}', '{"a": [" "]}', "\udcff"])
def test_descriptions_that_are_none_are_refused_in_one_line(tmp_path: Path, text: str):
    file = tmp_path / "cupl.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match="sentence") as told:
        read_descriptions(file)
    assert "\n" not in str(told.value)


def test_missing_descriptions_are_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_descriptions(tmp_path / "none.json")

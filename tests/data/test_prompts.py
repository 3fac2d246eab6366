import time
from pathlib import Path

import pytest

from seesay.base.errors import UsageError
from seesay.data.prompts import TEMPLATES, distinct_labels, fill, load_templates, read_labels

# The published list of 80 in its compact form: `a|the` is one template with "a" and one with "the".
IMAGENET = """
    a bad photo of a|the {}. ; a photo of many {}. ; a sculpture of a|the {}. ; a photo of a|the hard to see {}. ;
    a low resolution photo of a|the {}. ; a rendering of a|the {}. ; graffiti of a|the {}. ; itap of my {}. ;
    a cropped photo of a|the {}. ; a tattoo of a|the {}. ; a|the embroidered {}. ; a bright photo of a|the {}. ;
    a photo of a|the clean {}. ; a photo of a|the dirty {}. ; a dark photo of a|the {}. ; a drawing of a|the {}. ;
    a photo of my {}. ; a|the plastic {}. ; a photo of a|the cool {}. ; a close-up photo of a|the {}. ;
    a black and white photo of a|the {}. ; a painting of a|the {}. ; a pixelated photo of a|the {}. ;
    a jpeg corrupted photo of a|the {}. ; a blurry photo of a|the {}. ; a photo of a|the {}. ;
    a good photo of a|the {}. ; a|the {} in a video game. ; a photo of one {}. ; a doodle of a|the {}. ;
    a|the origami {}. ; a sketch of a|the {}. ; a|the toy {}. ; a rendition of a|the {}. ; a photo of a|the large {}. ;
    a photo of a|the nice {}. ; a photo of a|the weird {}. ; a|the cartoon {}. ; art of a|the {}. ;
    a|the plushie {}. ; itap of a|the {}. ; a photo of a|the small {}.
"""


def test_imagenet80_is_the_published_list_of_exactly_eighty():
    wanted = {entry.strip().replace("a|the", article) for entry in IMAGENET.split(";") for article in ("a", "the")}
    assert len(TEMPLATES["imagenet80"]) == len(set(TEMPLATES["imagenet80"])) == 80
    assert set(TEMPLATES["imagenet80"]) == wanted


def test_imagenet7_is_in_the_order_in_which_the_seven_were_chosen():
    assert [template.split(" {}")[0] for template in TEMPLATES["imagenet7"]] == [
        "itap of a",
        "a bad photo of the",
        "a origami",
        "a photo of the large",
        "a",
        "art of the",
        "a photo of the small",
    ]
    assert set(TEMPLATES["imagenet7"]) < set(TEMPLATES["imagenet80"])


@pytest.mark.parametrize(
    ("name", "count", "one_of_them"),
    [
        ("caltech101", 34, "a painting of the {}."),
        ("cifar", 18, "a low contrast photo of a {}."),
        ("country211", 5, "a photo i took while visiting {}."),
        ("dtd", 8, "a photo of the {} pattern."),
        ("eurosat", 3, "a centered satellite photo of {}."),
        ("fer2013", 6, "look at how {} they are."),
        ("flowers", 1, "a photo of a {}, a type of flower."),
        ("food101", 1, "a photo of {}, a type of food."),
        ("gtsrb", 3, 'a close up photo of a "{}" traffic sign.'),
        ("kinetics700", 28, "a demonstration of a person practicing {}."),
        ("mnist", 1, 'a photo of the number: "{}".'),
        ("none", 1, "{}"),
        ("pets", 1, "a photo of a {}, a type of pet."),
        ("resisc45", 18, "aerial imagery of the {}."),
        ("simple", 1, "a photo of a {}."),
        ("stanford_cars", 8, "i love my {}!"),
        ("ucf101", 48, "a video of the person {}."),
    ],
)
def test_a_data_set_has_its_published_templates(name: str, count: int, one_of_them: str):
    assert len(TEMPLATES[name]) == count
    assert one_of_them in TEMPLATES[name]


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_every_template_is_there_once_and_has_one_place_for_the_name(name: str):
    assert load_templates(TEMPLATES[name]) == load_templates(name) == TEMPLATES[name]
    assert len(set(TEMPLATES[name])) == len(TEMPLATES[name])
    assert name == name.lower()


def test_templates_come_from_a_file_too(tmp_path: Path):
    path = tmp_path / "mine.txt"
    path.write_bytes("\ufeff# mine\r\na sketch of {}\r\n\r\nmy {} über alles\r\n".encode())
    assert load_templates(path) == load_templates(str(path)) == ("a sketch of {}", "my {} über alles")


def test_no_choice_is_the_plain_prompt():
    assert load_templates(None) == ("a photo of a {}.",)


@pytest.mark.parametrize("templates", [["a photo"], ["{} and {}"], [], ["{} fine", "{0}"]])
def test_a_template_needs_exactly_one_place_for_the_name(templates: list[str]):
    with pytest.raises(UsageError, match=r"exactly once|at least one"):
        load_templates(templates)


def test_a_misspelt_name_is_answered_with_the_nearest_one():
    with pytest.raises(UsageError, match=r"'imagnet80' is no known name and no file.*Nearest: imagenet80"):
        load_templates("imagnet80")


def test_fill_goes_class_by_class_and_leaves_braces_alone():
    assert fill(["a {}.", "{} {0} {x}"], ["cat", "{y}"]) == ["a cat.", "cat {0} {x}", "a {y}.", "{y} {0} {x}"]


def test_labels_are_read_without_blanks_and_comments(tmp_path: Path):
    path = tmp_path / "labels.txt"
    path.write_text("# animals\n\n  cat \nice cream\n   \n#1 fan\n#\n## more\n#blessed {}\n", encoding="utf-8")
    assert read_labels(path) == ["cat", "ice cream", "#1 fan", "#blessed {}"]


def test_a_file_of_labels_that_cannot_be_read_is_named(tmp_path: Path):
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    for name, complaint in [("latin.txt", "no UTF-8"), ("missing.txt", "No such file"), ("", "Is a directory")]:
        with pytest.raises(UsageError, match=complaint):
            read_labels(tmp_path / name)


def test_repeated_labels_are_counted_once_and_named():
    assert distinct_labels(["dog", " cat", "dog ", "cow", "dog"]) == (["dog", "cat", "cow"], ["dog"])


@pytest.mark.parametrize("labels", [[], ["cat"], ["cat", "cat "]])
def test_one_label_is_no_choice(labels: list[str]):
    with pytest.raises(UsageError, match="one label always gets probability 1"):
        distinct_labels(labels)


def test_an_empty_label_is_refused_by_its_place():
    with pytest.raises(UsageError, match="label 2 of 3 is empty"):
        distinct_labels(["cat", " ", "dog"])


def test_labels_take_a_time_that_grows_with_their_number():
    # Of 200,000 labels each was counted in all of them before: 20 minutes.
    labels = [f"label {number}" for number in range(200_000)]
    started = time.process_time()
    assert distinct_labels([*labels, "label 7"]) == (labels, ["label 7"])
    assert time.process_time() - started < 10

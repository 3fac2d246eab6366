"""Sets known by name: the paper's templates and class names, and nothing for other sets."""

import pytest

from seesay.data.class_names import known_set
from seesay.data.prompts import TEMPLATES


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("cifar10", "cifar10"),
        ("eval-cifar10", "cifar10"),
        ("wds_vtab-cifar100_test", "cifar100"),
        ("cifar10:test", "cifar10"),
        ("CIFAR-10", "cifar10"),
        ("wds_vtab-clevr_count_all", "clevr_counts"),
        ("oxford-iiit-pet:test", "pets"),
        ("eval-dtd10", "dtd"),
        ("caltech101-halves", "caltech101"),
    ],
)
def test_a_set_is_known_by_its_name(called: str, name: str):
    known = known_set(called)
    assert known is not None and known.name == name


@pytest.mark.parametrize("called", ["test", "", "my cifar10 photos", "cifar", "eval-tinyimagenet-val", "emnist"])
def test_another_name_is_no_known_set(called: str):
    assert known_set(called) is None


def test_templates_are_those_of_the_data_set():
    known = known_set("cifar100")
    assert known is not None and known.templates == TEMPLATES["cifar"] and len(known.templates) == 18


def test_classes_are_renamed_by_name_in_any_order_and_others_keep_theirs():
    eurosat, digits, faces = known_set("eurosat"), known_set("mnist"), known_set("fer2013")
    assert eurosat and digits and faces
    assert eurosat.names_for(["SeaLake", "annual crop", "desert"]) == ["lake or sea", "annual crop land", "desert"]
    assert digits.names_for(["seven", "3"]) == ["7", "3"]
    assert faces.names_for(["happy"]) == [["happy", "smiling"]]

"""Sets known by name: the paper's templates and class names, and nothing for other sets."""

import pytest

from seesay.data.class_names import KNOWN_SETS, known_set
from seesay.data.folders import PARTS
from seesay.data.paper_sets import READERS
from seesay.data.prompts import TEMPLATES

METRICS = ("accuracy", "mean-per-class", "map11", "roc-auc", "mean-top1-top5", "pm0-pm10")
OWN_MEASURES = {"iiit5k": "lexicon", "rareact": "mwap-mwsap", "im2gps": "within-km"}


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


def test_a_set_is_known_behind_any_name_of_its_parts():
    assert {known_set(f"food101/{part}").name for part in PARTS} == {"food101"}


def test_templates_are_those_of_the_data_set():
    known = known_set("cifar100")
    assert known is not None and known.templates == TEMPLATES["cifar"] and len(known.templates) == 18


def test_classes_are_renamed_by_name_in_any_order_and_others_keep_theirs():
    eurosat, digits, faces = known_set("eurosat"), known_set("mnist"), known_set("fer2013")
    assert eurosat and digits and faces
    assert eurosat.names_for(["SeaLake", "annual crop", "desert"]) == ["lake or sea", "annual crop land", "desert"]
    assert digits.names_for(["seven", "3"]) == ["7", "3"]
    assert faces.names_for(["happy"]) == [["happy", "smiling"]]


def test_of_every_set_of_the_paper_the_part_the_measure_and_the_words_are_known():
    sets = KNOWN_SETS["sets"]
    # 36 zero-shot classifiers, and what the paper measures of words, rare actions and places beside them.
    assert len(sets) == 36 + 3 and [name for name, entry in sets.items() if not entry["called"]] == [*OWN_MEASURES]
    for name, entry in sets.items():
        assert entry["title"] and entry["split"] and entry["metric"] in {*METRICS, *OWN_MEASURES.values()}, name
        assert entry["templates"] in TEMPLATES or name in OWN_MEASURES, name
        assert entry["hub"] is None or entry["hub"].startswith("clip-benchmark/wds_"), name
        assert entry["reader"] == (f"{name}:FOLDER" if name in READERS else None)
    assert set(READERS) <= set(sets) and known_set("im2gps") is None
    # That copy is of crops with one class each, where the paper's images have several.
    assert sets["voc2007"]["hub"] is None
    countries = sets["country211"]["class_names"]
    assert len(countries) == len(set(countries.values())) == 211 and countries["gb"] == "United Kingdom"


def test_sets_with_a_shift_are_asked_with_the_templates_of_imagenet():
    for called in ("imagenetv2", "wds_imagenet_sketch", "imagenet-a", "ImageNet-R:test"):
        known = known_set(called)
        assert known is not None and len(known.templates) == 80

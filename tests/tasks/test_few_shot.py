"""Probes on whole sets and on a few images of every class, with a model that can be checked by eye."""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from seesay.base.errors import RefusedInput, UsageError
from seesay.tasks import few_shot
from seesay.tasks.few_shot import choose, open_labelled, probe_sets
from seesay.tasks.probe_result import shots_equal_to


@pytest.fixture
def model(colour_model):
    return colour_model


@pytest.fixture
def sets(tmp_path: Path, paint) -> tuple[Path, Path]:
    """Nine images per class to learn from, two to be measured on; "green" is painted yellow, as no class name says."""
    for part, count in (("train", 9), ("test", 2)):
        for name, colour in (("red", "red"), ("green", "yellow"), ("blue", "blue")):
            for number in range(count):
                paint(tmp_path / part / name / f"{number}.png", colour)
    return tmp_path / "train", tmp_path / "test"


def probe(model, sets, **question):
    return probe_sets(model, *(open_labelled(place) for place in sets), **question)


@pytest.mark.journey
def test_a_probe_learns_what_no_class_name_says(model, sets):
    advances = []
    result = probe(model, sets, shots=(1, 2), seeds=2, progress=advances.append)
    assert sum(advances) == 33
    assert (result.n, result.n_train, result.classes, result.features) == (6, 27, 3, 3)
    # Yellow is as near to "red" as to "green": a tie, and ties are wrong.
    assert result.zero_shot.value == pytest.approx(4 / 6)
    assert (
        result.score.value == 1.0 and result.score.interval95[1] == 1.0 and result.score.chance == pytest.approx(1 / 3)
    )
    assert [entry.shots for entry in result.shots] == [1, 2]
    assert all(entry.scores == (1.0, 1.0) and len(entry.penalties) == 2 for entry in result.shots)
    assert result.penalty in result.validation_scores
    assert result.skipped == 0 and len(result.data_fingerprints) == 2


@pytest.mark.parametrize("metric", few_shot.METRICS)
def test_every_metric_is_a_fraction_with_an_interval_around_it(model, sets, metric: str):
    result = probe(model, sets, penalty=1.0, metric=metric)
    assert result.score.value == 1.0 and result.penalty == 1.0
    low, high = result.zero_shot.interval95
    assert 0 <= low <= result.zero_shot.value <= high <= 1
    assert result.shots == () and result.shots_equal_to_zero_shot is None


def test_one_shot_of_sets_without_further_images_asks_for_a_penalty(model, tmp_path: Path, paint):
    for part in ("train", "test"):
        for colour in ("red", "blue"):
            paint(tmp_path / part / colour / "0.png", colour)
    places = tmp_path / "train", tmp_path / "test"
    with pytest.raises(
        UsageError, match=r"no class has two examples to choose a penalty by; give two of one, a penalty such as 1\.0"
    ):
        probe(model, places, shots=(1,))
    assert probe(model, places, shots=(1,), penalty=1.0).shots[0].mean == 1.0


def test_classes_are_matched_by_name(model, tmp_path: Path, paint):
    for colour in ("blue", "green", "red"):
        for number in range(2):
            paint(tmp_path / "train" / colour / f"{number}.png", colour)
    paint(tmp_path / "test" / "red" / "0.png", "red")
    paint(tmp_path / "test" / "blue" / "0.png", "red")
    result = probe(model, (tmp_path / "train", tmp_path / "test"), penalty=1.0)
    assert (result.score.value, result.zero_shot.value, result.classes) == (0.5, 0.5, 3)


def labelled_tar(folder: Path, names: list[str], labels: list[int], colours: list[str], paint) -> Path:
    """A set with classnames.txt, an image of each label; classes may have one name or no image."""
    folder.mkdir()
    (folder / "classnames.txt").write_text("\n".join(names))
    with tarfile.open(folder / "0.tar", "w") as tar:
        for number, (label, colour) in enumerate(zip(labels, colours, strict=True)):
            paint(folder / "one.png", colour)
            (folder / "one.cls").write_text(str(label))
            for ending in ("png", "cls"):
                tar.add(folder / f"one.{ending}", f"{number}.{ending}")
    for ending in ("png", "cls"):
        (folder / f"one.{ending}").unlink()
    return folder


def test_classes_of_one_name_are_told_apart_by_their_numbers_or_refused(model, tmp_path: Path, paint):
    colours = ["red", "green", "blue"] * 3
    twice = labelled_tar(tmp_path / "twice", ["red", "green", "red"], [0, 1, 2] * 3, colours, paint)
    result = probe(model, (twice, twice), penalty=1e-3)
    assert result.score.value == 1.0
    assert any("more than one class is called 'red'" in note for note in result.notes)
    other = labelled_tar(tmp_path / "other", ["green", "red"], [0, 1], ["green", "red"], paint)
    with pytest.raises(UsageError, match="twice has two classes 'red', and other other classes; rename one of them"):
        probe(None, (twice, other))


def test_a_class_without_an_image_to_learn_from_is_told_and_no_start(model, tmp_path: Path, paint):
    names = ["red", "green", "blue"]
    train = labelled_tar(tmp_path / "train", names, [0, 1] * 3, ["red", "green"] * 3, paint)
    test = labelled_tar(tmp_path / "test", names, [0, 1, 2], names, paint)
    result = probe(model, (train, test), penalty=1.0)
    assert result.score.value == pytest.approx(2 / 3)
    note = "1 of 3 classes have no image to learn from, as 'blue': their images are always misses."
    assert note in result.notes and note in result.to_json()["notes"]
    with pytest.raises(
        UsageError, match=r"a probe from words needs an image of every class, and .*train has none of 'blue'"
    ):
        probe(model, (train, test), from_words=True)


def test_what_is_learned_from_is_the_train_part_and_named(model, sets):
    learned = open_labelled(sets[0].parent, is_learned=True)
    assert (len(learned), learned.name) == (27, f"{sets[0].parent.name}/train")
    notes = probe_sets(model, learned, open_labelled(sets[1]), penalty=1.0).notes
    assert f"{learned.name} is learned from, its other parts are not." in notes


def test_broken_images_of_equal_bytes_are_no_images_that_were_learned_from(model, sets):
    for place in sets:
        (place / "red" / "0.png").write_bytes(b"no image")
    result = probe(model, sets, penalty=1.0)
    assert result.shared_images == result.n == 5


def test_broken_images_are_left_out_and_counted(model, sets):
    (sets[0] / "red" / "0.png").write_bytes(b"no image")
    (sets[1] / "red" / "0.png").write_bytes(b"no image")
    result = probe(model, sets, penalty=1.0)
    assert (result.n, result.n_train, result.skipped_by_reason) == (5, 26, {"not an image": 2})


# What is refused


def test_a_class_that_training_does_not_have_is_named_before_an_image_is_read(sets, paint):
    paint(sets[1] / "gren" / "0.png", "green")
    with pytest.raises(UsageError, match=r"classes of .*/test that .*/train does not have: 'gren'. Nearest: green"):
        probe(None, sets)


def test_fewer_images_than_shots_are_named(sets, model):
    with pytest.raises(UsageError, match=r"16 shots are requested, but class 'blue' of .*/train has 9 images"):
        probe(None, sets, shots=(1, 16))
    (sets[0] / "red" / "0.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"class 'red' of .*/train has 8 images that can be read"):
        probe(model, sets, shots=(9,))


def test_a_set_without_one_image_that_can_be_read_is_refused(sets, model):
    for file in sets[1].rglob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(RefusedInput, match=r"none of the 6 images of .*/test could be read"):
        probe(model, sets)


def test_images_with_captions_are_no_classes(tmp_path: Path, paint):
    paint(tmp_path / "0.png", "red")
    (tmp_path / "0.txt").write_text("red")
    with pytest.raises(UsageError, match="a probe needs classes"):
        open_labelled(tmp_path)


@pytest.mark.parametrize(
    "question", [{"metric": "acuracy"}, {"shots": (0,)}, {"seeds": 0}, {"penalty": "swep"}, {"penalty": -1.0}]
)
def test_a_question_that_makes_no_sense_is_refused(sets, question):
    with pytest.raises(UsageError):
        probe(None, sets, **question)


# Choosing, and meeting zero-shot


def test_two_shots_hold_the_one_shot_and_penalties_are_validated_on_others():
    label_N = np.repeat([0, 1, 2], [9, 5, 2])
    one, further_one = choose(label_N, 1, seed=3)
    two, further_two = choose(label_N, 2, seed=3)
    assert set(one) < set(two) and np.bincount(label_N[two]).tolist() == [2, 2, 2]
    assert np.bincount(label_N[further_one]).tolist() == [1, 1, 1]
    assert np.bincount(label_N[further_two], minlength=3).tolist() == [2, 2, 0]
    assert not set(two) & set(further_two)
    assert len(choose(np.repeat([0, 1], 20), 8, seed=0)[1]) == 2 * few_shot.MOST_VALIDATION_SHOTS
    assert not np.array_equal(one, choose(label_N, 1, seed=4)[0])


@pytest.mark.parametrize(
    ("zero_shot", "shots"),
    [
        (0.4, 2.0),
        (0.5, 2 * 2**0.5),
        (0.6, 4.0),
        (0.0, 0.5),
        (0.3, 2**0.5),
        (0.95, None),
        (0.85, 16 * 4**0.5),
    ],
)
def test_the_curve_is_straight_over_the_logarithm_of_the_shots(zero_shot: float, shots: float | None):
    points = [(1, 0.2), (2, 0.4), (4, 0.6), (16, 0.8), (64, 0.9)]
    found = shots_equal_to(zero_shot, points)
    assert found == (None if shots is None else pytest.approx(shots))


def test_a_curve_that_starts_above_zero_shot_and_does_not_rise_meets_it_at_its_start():
    assert shots_equal_to(0.5, [(1, 1.0), (2, 1.0), (4, 1.0)]) == 1.0


def test_a_single_point_above_zero_shot_is_where_they_meet():
    assert shots_equal_to(0.5, [(9, 0.9)]) == 9.0 and shots_equal_to(0.5, [(9, 0.4)]) is None
    assert shots_equal_to(0.5, [(1, 0.9), (1.0, 0.9)]) == 1.0


def test_a_curve_that_falls_meets_zero_shot_where_it_rises_again():
    assert shots_equal_to(0.5, [(1, 0.4), (2, 0.3), (4, 0.7)]) == pytest.approx(2 * 2**0.5)

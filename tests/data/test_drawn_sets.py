"""Sets that are drawn: the same bytes twice, what the label says is there, and nothing else tells the class."""

import io
import random

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import seesay
from seesay.base.errors import UsageError
from seesay.cli.main import main
from seesay.data import drawings
from seesay.data.drawn_sets import KINDS, NUMBERS, WORDS, drawn_sources, is_drawn_set, open_drawn_set
from seesay.data.evalsets import open_evalset, open_train_part


def small(name):
    return f"limits:{name}:{2 * len(KINDS[name].class_names)}"


def drawn(found, index):
    return np.asarray(Image.open(io.BytesIO(found.image(index))).convert("RGB")).astype(int)


@pytest.mark.journey
@pytest.mark.parametrize("name", KINDS)
def test_made_twice_it_is_the_same_bytes(name):
    first, again = open_evalset(small(name)), open_evalset(small(name))
    assert [first.image(index) for index in range(len(first))] == [again.image(index) for index in range(len(again))]
    assert first.fingerprint == again.fingerprint and first.name == f"limits:{name}"
    assert [first.label(index) for index in range(len(first))] == 2 * list(range(len(first.class_names)))


@pytest.mark.journey
@pytest.mark.parametrize("name", KINDS)
def test_no_image_to_learn_from_is_one_that_is_measured(name):
    test, train = open_evalset(small(name)), open_train_part(small(name))
    assert len(train) == 2 * len(test) and train.class_names == test.class_names
    images = {train.image(index) for index in range(len(train))}
    assert not images & {test.image(index) for index in range(len(test))}
    assert not {train.key(index) for index in range(len(train))} & {test.key(index) for index in range(len(test))}


@pytest.mark.journey
@pytest.mark.parametrize("name", KINDS)
def test_a_longer_set_begins_with_the_shorter_one(name):
    short, longer = open_evalset(small(name)), open_drawn_set(f"limits:{name}:{3 * len(KINDS[name].class_names)}")
    assert [longer.image(index) for index in range(len(short))] == [short.image(index) for index in range(len(short))]


@pytest.mark.parametrize("label", range(10))
def test_as_many_objects_are_there_as_the_class_says(label):
    for seed in range(4):
        image = np.asarray(drawings.counting(random.Random(seed), label)).astype(int)
        assert ndimage.label((image != image[0, 0]).any(2))[1] == label + 1


@pytest.mark.parametrize("label", range(4))
def test_the_circle_is_where_the_class_says(label):
    for seed in range(4):
        image = np.asarray(drawings.position(random.Random(seed), label)).astype(int)
        red, blue = (np.argwhere(abs(image - drawings.COLOURS[name]).max(2) < 8).mean(0) for name in ("red", "blue"))
        down, across = red - blue
        assert [across < -80, across > 80, down < -80, down > 80][label]
        assert min(abs(down), abs(across)) < 1


def test_bound_colours_are_swapped_and_all_else_is_alike():
    """A square has four corners in its box, a circle has none."""
    for label in (0, 1):
        image = np.asarray(drawings.binding(random.Random(5), label)).astype(int)
        is_square = {}
        for name in ("red", "blue"):
            is_of = abs(image - drawings.COLOURS[name]).max(2) < 8
            rows, columns = np.argwhere(is_of).min(0), np.argwhere(is_of).max(0)
            box = is_of[rows[0] : columns[0], rows[1] : columns[1]]
            is_square[name] = box.mean() > 0.9
        assert is_square == {"red": label == 0, "blue": label == 1}


def test_a_nearer_car_is_larger():
    widths = []
    for label in range(4):
        road = np.asarray(drawings.distance(random.Random(3), label)).astype(int)
        wheels = (abs(road - 25).max(2) < 3).any(0)
        widths.append(int(wheels.sum()))
    assert widths[0] > widths[1] > widths[2] > widths[3] == 0


def test_words_and_numbers_are_all_different():
    assert len(set(WORDS)) == len(WORDS) == 50 and len(set(NUMBERS)) == len(NUMBERS)
    assert {len(number) for number in NUMBERS} == {2, 3, 4}


def test_limits_alone_is_all_of_them_and_a_folder_of_that_name_is_spelled_as_one():
    assert drawn_sources(["a", "limits"]) == ["a", *(f"limits:{name}" for name in KINDS)]
    assert is_drawn_set("limits") and not is_drawn_set("./limits") and not is_drawn_set("limits-of-mine")


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("limits:countin", "Nearest: counting"),
        ("limits:counting:x", "asks for 'x' images"),
        ("limits:counting:19", "from 20 to"),
        ("limits:counting:999999999", "from 20 to"),
    ],
)
def test_what_is_not_drawn_is_refused_in_one_line(source, error, capsys):
    with pytest.raises(UsageError, match=error):
        drawn_sources([source])
    assert main(["evaluate", "box", source]) == 2
    assert error in capsys.readouterr().err


@pytest.mark.journey
def test_every_set_has_the_papers_number_or_says_that_there_is_none():
    for name in KINDS:
        (note,) = open_evalset(small(name)).notes
        has_number = name in ("counting", "distance", "words", "sentences", "numbers")
        assert ("the paper's CLIP on" in note, any(letter.isdigit() for letter in note)) == (has_number, has_number)


@pytest.mark.journey
def test_the_command_measures_zero_shot_and_a_probe(tmp_path, capsys):
    numbers = tmp_path / "limits.json"
    assert main(["evaluate", "box", "limits:binding:40", "limits:position:40", "--json", str(numbers)]) == 0
    shown = capsys.readouterr().out
    assert "limits:binding" in shown and "linear probe" in shown
    assert numbers.read_text().count('"linear-probe"') == 2


@pytest.mark.journey
def test_in_python_too():
    evaluation = seesay.evaluate("box", "limits:negation:20")
    assert {row["task"] for row in evaluation.rows()} == {"zero-shot", "linear-probe"}
    assert evaluation.to_json()[0]["place"] == "limits:negation:20"


def test_textures_are_the_same_for_a_seed_and_have_the_spectrum_of_photos():
    first, again, other = (np.stack(list(drawings.textures(40, 32, seed=seed))) for seed in (1, 1, 2))
    assert first.shape == (40, 32, 32, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    # Amplitude falls with the frequency f about as 1 / f: of one octave to the next by more than 1.3 and less than 4.
    amplitude = np.abs(np.fft.fft2(first.mean(-1) - first.mean((1, 2, 3))[:, None, None])).mean(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32)))
    octaves = [amplitude[(frequency > low) & (frequency <= 2 * low)].mean() for low in (0.06, 0.12, 0.24)]
    assert all(1.3 < octaves[k] / octaves[k + 1] < 4 for k in range(2)), octaves

"""Figures: names are no formulas, none grows with them, and one that cannot be drawn ends nothing."""

import ast
import io
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from source_trees import FILES, name_of, nodes_of, tree_of

from seesay.base.drawing import COLOURS, MOST_LETTERS, SHADES, canvas, look_of, plain_figure, plain_label
from seesay.base.records import Score
from seesay.evaluation import charts
from seesay.evaluation.html import similarity_figure
from seesay.formulas.robustness import Line
from seesay.training.run_log import curves

SCORE = Score(value=0.5, interval95=(0.4, 0.6), chance=0.1, n=9)
# Of each kind one: a formula without end, one with, an unset variable, letters no font has, controls, a name that
# matplotlib leaves out of legends, one that is longer than any image may be wide, half of a surrogate pair.
HOSTILE = (
    "$q_{$",
    "$5 to $9",
    "",
    "猫 🐈",
    "\uffff",
    "</text><script>",
    "a\x1b\u202e\n\0b",
    "_hidden",
    "w" * 100_000,
    "\udce9",
    "\\frac{",
    "{}",
)


def drawings(name):
    """Every figure of the package, with `name` wherever a name goes."""
    point = charts.Point(name=name, x=0.4, y=0.5)
    yield charts.bars({name: {name: SCORE, f"{name}2": SCORE}}, axis="top-1")
    yield charts.zero_shot_against_probe([point])
    yield charts.few_shot_curves({name: (SCORE, [(1, SCORE), (2, SCORE)])})
    yield charts.prompt_strip({name: ({name: SCORE}, 0.5)}, up_to=0.6)
    yield charts.shift_plot([point], [point], Line(slope=1.2, offset=-1.0), names=(name, name))
    yield charts.confusion_matrix(np.eye(2), [name, name])
    yield similarity_figure(np.eye(2), rows=[name, "b"], columns=[name, "b"], titles=(name, name))
    yield curves([{"event": "check", "pairs_seen": 8, f"{name}/top1": 0.5, f"{name}/loss": 0.5}])


@pytest.mark.journey
@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_every_figure_can_be_drawn_whatever_a_name_is(name, capfd):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for drawing in drawings(name):
            assert max(Image.open(io.BytesIO(drawing.png())).size) < 3000
            assert inline_of(drawing).tag == "svg"
    assert (caught, *capfd.readouterr()) == ([], "", "")


def inline_of(drawing):
    return ElementTree.fromstring(drawing.inline())


@pytest.mark.journey
def test_a_dollar_is_drawn_as_a_dollar():
    drawing = charts.zero_shot_against_probe([charts.Point(name="$x$", x=0, y=0)])
    assert "$x$" in [text.text for text in inline_of(drawing).iter("text")]


def test_a_figure_in_a_page_has_the_colours_of_the_page_and_nothing_of_a_file():
    many = {f"model {number}": SCORE for number in range(len(COLOURS) + 2)}
    drawing = charts.bars({"#0072b2": many}, axis="top-1")
    inline = drawing.inline()
    root = ElementTree.fromstring(inline)
    assert not {"width", "height"} & set(root.attrib) and root.attrib["viewBox"]
    assert {element.tag for element in root.iter()}.isdisjoint({"style", "metadata", "script"})
    drawn_in = {value for element in root.iter() for name, value in element.attrib.items() if name != "d"}
    assert not [value for value in drawn_in if any(colour in value for colour in SHADES)]
    assert {f"var({variable})" in inline for variable in SHADES.values() if variable != "--faint"} == {True}
    # A name that reads like a colour is a name; and a figure drawn twice is the same text.
    assert "#0072b2" in [text.text for text in root.iter("text")]
    assert drawing.inline() == inline


@pytest.mark.journey
def test_two_figures_in_a_page_share_no_id_that_means_two_things():
    seen = {}
    for drawing in drawings("one"):
        for element in inline_of(drawing).iter():
            if "id" in element.attrib:
                element.tail = None
                meaning = ElementTree.tostring(element)
                assert seen.setdefault(element.attrib["id"], meaning) == meaning


def test_the_number_of_each_bar_stands_behind_it():
    texts = [text.text for text in inline_of(charts.bars({"one": {"a": SCORE}}, axis="top-1")).iter("text")]
    assert "50.0" in texts and "60" in texts and "100" not in texts  # the axis ends where the interval does


def test_a_series_after_the_last_colour_looks_like_no_other():
    looks = [tuple(look_of(number).values()) for number in range(3 * len(COLOURS))]
    assert len(set(looks)) == len(looks)


def test_a_figure_that_cannot_be_drawn_is_an_image_that_says_why_and_a_message(capfd):
    @plain_figure
    def broken():
        raise ValueError("no\x1bfont\nhere <猫>")

    assert Image.open(io.BytesIO(broken().png())).size[0] > 500
    assert capfd.readouterr().err == (
        "warning: a figure could not be drawn (ValueError: no\\x1bfont here <猫>); the numbers are not touched by it.\n"
    )
    (line,) = inline_of(broken()).iter("text")
    assert line.text == "This figure could not be drawn. ValueError: no\\x1bfont here <\\u732b>"


def test_a_figure_that_no_page_can_hold_is_words_that_say_why(capfd):
    @plain_figure
    def with_a_control(name):
        figure, (axes,) = canvas(2, 2)
        axes.set_title(name)
        return figure

    (line,) = inline_of(with_a_control("a\x01b")).iter("text")
    assert line.text.startswith("This figure could not be drawn. ParseError")
    assert "could not be drawn (ParseError" in capfd.readouterr().err


def test_a_label_is_short_and_seen():
    assert plain_label("a\x1b") == "a\\x1b"
    assert plain_label("_a") == " _a"
    assert len(plain_label("ab" * 100)) == MOST_LETTERS and plain_label("ab" * 100).startswith("ab")


@pytest.mark.journey
def test_everything_that_draws_is_a_plain_figure():
    for file in FILES:
        functions = [node for node in nodes_of(tree_of(file)) if isinstance(node, ast.FunctionDef)]
        plain = {function.name for function in functions if "plain_figure" in map(ast.unparse, function.decorator_list)}
        drawing = {function.name for function in functions if "= canvas(" in ast.unparse(function)}
        assert drawing == plain, name_of(file)

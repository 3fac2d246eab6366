"""Figures: names are no formulas, none grows with them, and one that cannot be drawn ends nothing."""

import ast
import io
import warnings

import numpy as np
import pytest
from PIL import Image
from source_trees import FILES, name_of, tree_of

from seesay.base.drawing import MOST_LETTERS, plain_figure, plain_label
from seesay.base.records import Score
from seesay.evaluation import charts
from seesay.evaluation.html import similarity_figure
from seesay.formulas.robustness import Line
from seesay.training.run_log import curves

SCORE = Score(value=0.5, interval95=(0.4, 0.6), chance=0.1, n=9)
# Of each kind one: a formula without end, one with, an unset variable, letters no font has, controls, a name that
# matplotlib leaves out of legends, one that is longer than any image may be wide, half of a surrogate pair.
HOSTILE = ("$q_{$", "$5 to $9", "", "猫 🐈", "a\x1b\u202e\n\0b", "_hidden", "w" * 100_000, "\udce9", "\\frac{", "{}")


def drawings(name):
    """Every figure of the package, with `name` wherever a name goes."""
    point = charts.Point(name=name, x=0.4, y=0.5)
    yield charts.bars({name: {name: SCORE, f"{name}2": SCORE}}, axis="top-1")
    yield charts.zero_shot_against_probe([point])
    yield charts.few_shot_curves({name: (SCORE, [(1, SCORE), (2, SCORE)])})
    yield charts.prompt_strip({name: ({name: SCORE}, 0.5)}, up_to=0.6)
    yield charts.shift_plot([point], [point], Line(slope=1.2, offset=-1.0), names=(name, name))
    yield similarity_figure(np.eye(2), rows=[name, "b"], columns=[name, "b"], titles=(name, name))
    yield curves([{"event": "check", "pairs_seen": 8, f"{name}/top1": 0.5, f"{name}/loss": 0.5}])


@pytest.mark.journey
@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_every_figure_can_be_drawn_whatever_a_name_is(name, capfd):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for png in drawings(name):
            assert max(Image.open(io.BytesIO(png)).size) < 3000
    assert (caught, *capfd.readouterr()) == ([], "", "")


def test_a_dollar_is_drawn_as_a_dollar():
    def is_drawn_in(name):
        return np.asarray(Image.open(io.BytesIO(charts.zero_shot_against_probe([charts.Point(name=name, x=0, y=0)]))))

    assert not np.array_equal(is_drawn_in("$x$"), is_drawn_in("x"))


def test_a_figure_that_cannot_be_drawn_is_an_image_that_says_why_and_a_message(capfd):
    @plain_figure
    def broken() -> bytes:
        raise ValueError("no\x1bfont\nhere 猫")

    assert Image.open(io.BytesIO(broken())).size[0] > 500
    assert capfd.readouterr().err == (
        "warning: a figure could not be drawn (ValueError: no\\x1bfont here 猫); the numbers are not touched by it.\n"
    )


def test_a_label_is_short_and_seen():
    assert plain_label("a\x1b") == "a\\x1b"
    assert plain_label("_a") == " _a"
    assert len(plain_label("ab" * 100)) == MOST_LETTERS and plain_label("ab" * 100).startswith("ab")


@pytest.mark.journey
def test_everything_that_imports_a_figure_of_matplotlib_is_a_plain_figure():
    for file in FILES:
        functions = [node for node in ast.walk(tree_of(file)) if isinstance(node, ast.FunctionDef)]
        plain = {function.name for function in functions if "plain_figure" in map(ast.unparse, function.decorator_list)}
        for function in functions:
            imports = [node for node in ast.walk(function) if isinstance(node, ast.ImportFrom)]
            if any(node.module == "matplotlib.figure" for node in imports) and function.name not in plain:
                callers = {other.name for other in functions if f"{function.name}(" in ast.unparse(other)}
                assert callers - {function.name} <= plain, f"{name_of(file)}: {function.name}"

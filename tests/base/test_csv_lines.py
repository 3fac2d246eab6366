"""Cells of CSV that come from file names and labels of strangers."""

import csv
import io
import re
from pathlib import Path

import pytest

import seesay
from seesay.base.csv_lines import csv_line, text_of_cell

STARTS = ["=1+2", "+1", "-x.jpg", "@sum", "\tx", "\rx", "\nx", "＝1", " =1", "\ufeff=1", "'=1", "''+1"]
HARMLESS = ["cat", "a=b", "'tis", "a-b", "", " x", "it's", "1-2", "a;b", 'say "x"', "ünï", "a\nb", "x|y", "a\tb"]


def original(cell: str) -> str:
    """What csv_line's docstring says about reading back."""
    return cell[1:] if re.match("'['\\s\ufeff]*[=+\\-@＝＋－＠\t\r\n]", cell) else cell


@pytest.mark.parametrize("text", STARTS)
def test_no_cell_begins_like_a_formula(text: str):
    (row,) = csv.reader(io.StringIO(csv_line([text, text])), strict=True)
    assert [cell[0] for cell in row] == ["'", "'"]


@pytest.mark.parametrize("text", [*STARTS, *HARMLESS])
def test_reading_back_gives_the_text_that_was_written(text: str):
    (row,) = csv.reader(io.StringIO(csv_line(["x", text, "x"]), newline=""), strict=True)
    assert [original(cell) for cell in row] == ["x", text, "x"]


def test_harmless_text_and_numbers_stay_what_they_are():
    assert csv_line(["a b", 0.25, -1.5, 3, 1e-7, "it's"]) == "a b,0.25,-1.5,3,1e-07,it's\n"


def test_no_separator_of_another_country_opens_a_cell_inside_one():
    assert csv_line(["cat;=1+2"]) == '"cat;=1+2"\n'


def test_nothing_else_in_the_product_writes_csv():
    sources = {path.name: path.read_text() for path in Path(seesay.__file__).parent.rglob("*.py")}
    assert [name for name, text in sources.items() if re.search(r"csv\.(Dict)?[Ww]riter|to_csv", text)] == []


@pytest.mark.parametrize("text", [*STARTS, *HARMLESS])
def test_a_line_of_tsv_is_as_harmless_and_comes_back(text: str):
    reader = csv.reader(
        io.StringIO(csv_line(["x", text, "x"], separator="\t"), newline=""), delimiter="\t", strict=True
    )
    (row,) = reader
    assert (row[1][:1] == "'") == (text in STARTS or text.startswith("'"))
    assert [text_of_cell(cell) for cell in row] == ["x", text, "x"]

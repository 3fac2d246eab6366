"""Rows of results for pandas and for a notebook. pandas itself is not needed."""

import sys
from types import SimpleNamespace

import pytest

from seesay.base.errors import UsageError
from seesay.base.records import Score
from seesay.base.values import html_table, percent, score_row, to_pandas, with_interval


def test_shares_are_shown_in_percent_with_their_interval():
    assert percent(0.1234) == "12.3"
    assert with_interval(0.5, (0.25, 0.755)) == "50.0 [25.0, 75.5]"
    assert with_interval(0.05, (-0.1, 0.2), sign=True) == "+5.0 [-10.0, +20.0]"


def test_a_score_is_five_columns():
    score = Score(value=0.5, interval95=(0.1, 0.9), chance=0.25, n=4)
    assert score_row(score) == {"value": 0.5, "low": 0.1, "high": 0.9, "chance": 0.25, "n": 4}


def test_rows_become_a_data_frame(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=lambda rows: ("frame", rows)))
    assert to_pandas([{"a": 1}, {"a": 2}]) == ("frame", [{"a": 1}, {"a": 2}])


def test_without_pandas_the_line_to_type_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas") as caught:
        to_pandas([{"a": 1}])
    assert "\n" not in str(caught.value)


def test_cells_of_a_notebook_table_are_escaped():
    table = html_table(["set"], [["<script>"], ["a & b"]])
    assert table.count("<tr>") == 3 and "<script>" not in table and "a &amp; b" in table

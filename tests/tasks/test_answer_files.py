"""Every format holds the same answers, and a file is what its ending says."""

import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet
import pytest

from seesay.base.errors import UsageError
from seesay.base.records import Ranking, Skipped
from seesay.tasks import answers as answers_module
from seesay.tasks.answer_files import FORMATS, format_of, read_rows, refuse_ending, write_skipped
from seesay.tasks.answers import Answer, Results

TABLES = ["csv", "tsv", "json", "jsonl", "parquet"]
PATHS = ["a.png", "=1+2.png", "-b, c.png", 'tab\tand "quote".png', "'tis.png", "ünï 写真.png", "line\nend.png"]
ANSWERS = [
    Answer(
        photo=path,
        ranking=Ranking(labels=("red", "@blue"), probabilities=(0.75 - number / 16, 0.25 + number / 16)),
        labels=("red",) if number % 2 else (),
    )
    for number, path in enumerate(PATHS)
]
SKIPPED = Skipped(key="=broken.png", reason="empty file")
ROWS = [
    {
        "path": answer.photo,
        "answer": answer.words,
        "label_1": "red",
        "probability_1": answer.ranking.probabilities[0],
        "label_2": "@blue",
        "probability_2": answer.ranking.probabilities[1],
    }
    for answer in ANSWERS
]


def results(answers=ANSWERS) -> Results:
    return Results(rows=lambda: iter([*answers[:1], SKIPPED, *answers[1:]]), model="box", labels=["red", "@blue"])


def written(folder: Path, kind: str, answers=ANSWERS) -> Path:
    path = folder / f"out{FORMATS[kind].ending}"
    path.write_bytes(b"".join([FORMATS[kind].start, *FORMATS[kind].chunks(results(answers))]))
    return path


@pytest.mark.parametrize("kind", TABLES)
def test_rows_come_back_as_they_were_whatever_the_format(tmp_path: Path, kind: str):
    assert list(read_rows(written(tmp_path, kind))) == ROWS


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_no_cell_of_a_line_of_text_begins_a_formula(tmp_path: Path, kind: str):
    text = written(tmp_path, kind).read_text("utf-8-sig")
    table = list(csv.reader(io.StringIO(text, newline=""), delimiter="," if kind == "csv" else "\t", strict=True))
    assert table[2][0] == "'=1+2.png" and table[3][0] == "'-b, c.png"
    assert {row[4] for row in table[1:]} == {"'@blue"}
    assert {len(row) for row in table} == {6}


def test_only_the_file_that_excel_opens_has_a_byte_order_mark(tmp_path: Path):
    beginnings = {kind: written(tmp_path, kind).read_bytes()[:3] for kind in FORMATS}
    assert [kind for kind, data in beginnings.items() if data == b"\xef\xbb\xbf"] == ["csv"]
    # Arrow, as pandas and polars, passes over it.
    assert pyarrow.csv.read_csv(tmp_path / "out.csv").column_names[0] == "path"


def test_several_labels_are_a_list_in_json_and_parquet_and_one_text_in_lines(tmp_path: Path):
    several = [replace(answer, labels=("red", "@blue"), is_multi_label=True) for answer in ANSWERS]
    found = {kind: next(read_rows(written(tmp_path, kind, several)))["answer"] for kind in TABLES}
    assert found == {kind: "red; @blue" if kind in ("csv", "tsv") else ["red", "@blue"] for kind in TABLES}


def test_a_text_file_is_not_folded_at_the_width_of_a_terminal(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    text = written(tmp_path, "table", [replace(ANSWERS[0], photo="long/" * 50)]).read_text()
    assert "long/" * 50 in text and len(text.splitlines()) == 3


def test_a_ranking_is_a_row_of_a_table_of_labels():
    assert list(ANSWERS[0].ranking.to_dict().items()) == [("red", 0.75), ("@blue", 0.25)]


def test_parquet_is_written_a_row_group_at_a_time_with_typed_columns(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(answers_module, "CELLS_AT_ONCE", 2 * 6)
    with pyarrow.parquet.ParquetFile(written(tmp_path, "parquet")) as file:
        assert [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)] == [2, 2, 2, 1]
        assert [str(kind) for kind in file.schema_arrow.types] == ["string", "string", *["string", "double"] * 2]
    assert list(read_rows(tmp_path / "out.parquet")) == ROWS


@pytest.mark.parametrize("kind", FORMATS)
def test_a_name_that_is_no_utf8_is_in_every_format(tmp_path: Path, kind: str):
    answer = replace(ANSWERS[0], photo=os.fsdecode(b"caf\xe9.png"))
    path = written(tmp_path, kind, [answer])
    if kind in TABLES:
        assert next(read_rows(path))["path"] == ("caf\\udce9.png" if kind == "parquet" else answer.photo)


@pytest.mark.parametrize("name", ["out.txt", "out.html"])
def test_rows_are_not_read_from_what_is_for_people(tmp_path: Path, name: str):
    with pytest.raises(UsageError, match=r"is for people; rows are read of \.parquet"):
        next(read_rows(tmp_path / name))


@pytest.mark.parametrize(
    ("out", "name", "ending"),
    [
        (None, None, ".txt"),
        (None, "tsv", ".tsv"),
        ("a.JSONL", None, ".jsonl"),
        ("a.b/c.Parquet", None, ".parquet"),
        ("labels", "csv", ".csv"),
        ("labels.csv", "csv", ".csv"),
        ("labels.txt", "table", ".txt"),
    ],
)
def test_the_ending_or_the_name_chooses(out: str | None, name: str | None, ending: str):
    assert format_of(out, name).ending == ending


@pytest.mark.parametrize(
    ("out", "name", "complaint"),
    [
        ("a.xlsx", None, "which says how it is written. Excel opens .csv."),
        ("a.feather", None, "-o a.feather should end in .csv, .tsv,"),
        ("a", None, "should end in"),
        (".csv", None, "should end in"),
        ("a.csv.gz", None, "should end in"),
        ("a.json", "csv", "-o a.json ends in .json, and format csv writes .csv; leave out format"),
        ("a.xlsx", "csv", "format csv writes .csv"),
        (None, "parquet", "format parquet is no text for a terminal; add -o FILE.parquet."),
    ],
)
def test_what_does_not_agree_is_refused(out: str | None, name: str | None, complaint: str):
    with pytest.raises(UsageError) as error:
        format_of(out, name)
    assert complaint in str(error.value)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".json", ".jsonl"])
def test_skipped_photos_are_written_as_the_ending_says(tmp_path: Path, ending: str):
    path = tmp_path / f"bad{ending}"
    refuse_ending(path, "--bad")
    write_skipped(path, [SKIPPED, SKIPPED])
    text = path.read_text("utf-8-sig")
    first = {"path": "=broken.png", "reason": "empty file", "detail": ""}
    if ending == ".json":
        assert json.loads(text) == [first, first]
    elif ending == ".jsonl":
        assert [json.loads(line) for line in text.splitlines()] == [first, first]
    else:
        separator = "\t" if ending == ".tsv" else ","
        assert text.splitlines() == [separator.join(first), *[f"'=broken.png{separator}empty file{separator}"] * 2]
    assert path.read_bytes().startswith(b"\xef\xbb\xbf") == (ending == ".csv")


def test_a_list_of_skipped_photos_without_one_is_a_file_without_rows(tmp_path: Path):
    for ending, text in {".csv": "path,reason,detail\n", ".json": "[]\n", ".jsonl": ""}.items():
        write_skipped(tmp_path / f"bad{ending}", [])
        assert (tmp_path / f"bad{ending}").read_text("utf-8-sig") == text

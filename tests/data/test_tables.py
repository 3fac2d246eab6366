"""CSV, TSV and Parquet tables of image paths and captions."""

import contextlib
import os
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.data import tables
from seesay.data.tables import open_table


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "img").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "img" / f"{name}.jpg").write_bytes(f"image {name}".encode())
    return tmp_path


def table(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def contents(source) -> list[tuple[str, bytes, tuple[str, ...]]]:
    return [(item.key, item.image, item.captions) for item in source]


EXPECTED = [("img/a.jpg", b"image a", ("a cat", "one cat")), ("img/b.jpg", b"image b", ('a "dog", wet',))]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(("name", "separator"), [("t.csv", ","), ("t.tsv", "\t"), ("t.csv", "\t"), ("t.csv", ";")])
def test_byte_order_mark_line_ends_quotes_and_separators_make_no_difference(folder, end, mark, name, separator):
    rows = [
        ["filepath", "title"],
        ["img/a.jpg", "a cat"],
        ["img/b.jpg", '"a ""dog"", wet"'],
        ["./img//a.jpg", " one cat "],
    ]
    text = mark + end.join(separator.join(row) for row in rows).encode()
    source = open_table(table(folder, text, name))
    assert contents(source) == EXPECTED
    assert list(source.problems) == []


@pytest.mark.parametrize("kind", [pyarrow.string(), pyarrow.large_string()])
def test_parquet_gives_the_same_as_csv(folder, kind):
    columns = {"id": [1, 2, 3, 4], "image_path": ["img/a.jpg", "img/b.jpg", "img/a.jpg", "img/c.jpg"]}
    columns["text"] = pyarrow.array(["a cat", 'a "dog", wet', "one cat", None], kind)
    path = folder / "t.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    source = open_table(path)
    assert contents(source) == EXPECTED
    assert [(problem.key, problem.reason) for problem in source.problems] == [("img/c.jpg", "empty caption")]
    csv = table(folder, 'filepath,caption\nimg/a.jpg,a cat\nimg/b.jpg,"a ""dog"", wet"\nimg/a.jpg,one cat\n')
    assert open_table(csv).fingerprint == source.fingerprint


@pytest.mark.parametrize("image", ["filepath", "image", "Image_Path", "path", "file_name"])
@pytest.mark.parametrize("caption", ["caption", "TEXT", "title"])
def test_usual_column_names_are_found_in_any_order_and_case(folder, image, caption):
    assert contents(open_table(table(folder, f"{caption},x,{image}\na cat,1,img/a.jpg\n"))) == [
        ("img/a.jpg", b"image a", ("a cat",))
    ]


def test_a_caption_may_hold_a_line_break(folder):
    source = open_table(table(folder, 'image,caption\nimg/a.jpg,"one\ntwo"\nimg/b.jpg,three\n'))
    assert [item.captions for item in source] == [("one\ntwo",), ("three",)]


def test_named_columns_win_and_a_missing_one_lists_what_is_there(folder):
    path = table(folder, "image,caption,long_caption\nimg/a.jpg,short,long\n")
    assert open_table(path, caption_column="long_caption").captions(0) == ("long",)
    with pytest.raises(UsageError) as caught:
        open_table(path, caption_column="longcaption")
    assert "its columns are 'image', 'caption', 'long_caption'. Nearest: long_caption" in str(caught.value)
    with pytest.raises(UsageError, match="cannot be both"):
        open_table(path, caption_column="image")


@pytest.mark.parametrize(("head", "role"), [("url,caption", "image"), ("image,label", "caption"), ("", "image")])
def test_a_table_without_a_column_that_is_needed_says_which(folder, head, role):
    with pytest.raises(UsageError, match=f"no column that looks like the {role}"):
        open_table(table(folder, head))


def test_rows_that_cannot_be_used_are_counted_by_reason(folder):
    os.mkfifo(folder / "pipe.jpg")
    (folder / "empty.jpg").touch()
    rows = ["filepath,caption", "img/a.jpg,a cat", "gone.jpg,x", ",no path", "img/b.jpg, ", "pipe.jpg,x", "short"]
    rows += ["https://example.org/x.jpg,x", "empty.jpg,x", "img,x", "bad\0name.jpg,x", "", "img/c.jpg,see"]
    source = open_table(table(folder, "\n".join(rows)))
    assert [item.key for item in source] == ["img/a.jpg", "img/c.jpg"]
    assert sorted(problem.reason for problem in source.problems) == [
        "a link and not a file",
        "empty caption",
        "empty file",
        "missing file",
        "not a regular file",
        "not a regular file",
        "row with too few columns",
        "row without image path",
        "unreadable file",
    ]


def test_an_absolute_path_below_the_table_is_the_same_as_a_relative_one(folder):
    relative = open_table(table(folder, "image,text\nimg/a.jpg,x\n"))
    absolute = open_table(table(folder, f"image,text\n{folder / 'img' / 'a.jpg'},x\n"))
    assert contents(absolute) == contents(relative)
    assert absolute.fingerprint == relative.fingerprint


def test_the_fingerprint_holds_no_folder_of_this_machine(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("other")
    for where in (folder, elsewhere):
        (where / "photos").mkdir()
        (where / "photos" / "a.jpg").write_bytes(b"1")
        (where / "tables").mkdir()
    paths = [table(where / "tables", f"image,text\n{where / 'photos' / 'a.jpg'},x\n") for where in (folder, elsewhere)]
    assert open_table(paths[0]).fingerprint == open_table(paths[1]).fingerprint


def test_a_line_too_long_is_dropped_and_counted(folder):
    text = "image,caption\nimg/a.jpg,one\nimg/b.jpg," + "x" * 3_000_000 + "\nimg/c.jpg,three\n"
    source = open_table(table(folder, text))
    assert [item.captions for item in source] == [("one",), ("three",)]
    assert [problem.reason for problem in source.problems] == ["line too long"]


def test_a_quote_left_open_is_counted_and_does_not_swallow_the_table(folder):
    lines = ["image,caption", "img/a.jpg,one", 'img/b.jpg,"open'] + [f"none/{n}.jpg,{'x' * 500}" for n in range(400)]
    source = open_table(table(folder, "\n".join([*lines, "img/c.jpg,three"])))
    assert [item.key for item in source] == ["img/a.jpg", "img/c.jpg"]
    assert [problem.reason for problem in source.problems].count("unreadable row") == 1


@pytest.mark.parametrize("row", [",", "x", "img/a.jpg,", '"x"y"'])
def test_a_table_of_which_most_rows_cannot_be_used_is_refused_before_the_end(folder, row, monkeypatch):
    monkeypatch.setattr(tables, "MOST_UNUSABLE", 100)
    with pytest.raises(RefusedInput, match=r"101 of 10\d rows of .* cannot be used: 101 x "):
        open_table(table(folder, "image,caption\n" + f"{row}\n" * 1000))
    good = "img/a.jpg,a cat\n" * 200
    assert len(open_table(table(folder, f"image,caption\n{good}" + f"{row}\n" * 150)).problems) == 150


def test_no_usable_row_is_a_usage_error_with_the_reasons(folder):
    with pytest.raises(UsageError, match=r"No pairs in '.*' \(2 rows\): 2 x missing file\."):
        open_table(table(folder, "image,caption\nx.jpg,a\ny.jpg,b\n"))
    with pytest.raises(UsageError, match="the table is empty"):
        open_table(table(folder, "image,caption\n"))


@pytest.mark.parametrize(
    "content", ["image,caption\nimg/a.jpg,café\n".encode("latin-1"), "image,caption\n".encode("utf-16")]
)
def test_a_text_table_that_is_not_utf8_is_refused(folder, content):
    with pytest.raises(RefusedInput, match="save it as UTF-8"):
        open_table(table(folder, content))


def test_a_parquet_file_that_is_none_or_cut_is_refused(folder):
    path = folder / "t.parquet"
    parquet.write_table(pyarrow.table({"image": ["img/a.jpg"] * 50, "text": [f"cat {n}" for n in range(50)]}), path)
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(RefusedInput, match="not a whole Parquet file"):
            open_table(path)


def test_a_damaged_parquet_file_is_refused_or_read_and_never_a_surprise(folder):
    path = folder / "t.parquet"
    parquet.write_table(pyarrow.table({"image": ["img/a.jpg"] * 50, "text": [f"cat {n}" for n in range(50)]}), path)
    whole = path.read_bytes()
    for position in range(4, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x11]) + whole[position + 1 :])
        with contextlib.suppress(RefusedInput, UsageError, StorageError):
            open_table(path)


def test_a_parquet_column_that_is_not_text_is_refused_by_its_type(folder):
    path = folder / "t.parquet"
    parquet.write_table(pyarrow.table({"image": [{"bytes": b"1"}], "text": ["x"]}), path)
    with pytest.raises(RefusedInput, match=r"'image' of .* holds struct<bytes: binary>, not text"):
        open_table(path)

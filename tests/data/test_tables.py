"""CSV, TSV and Parquet tables of image paths and captions."""

import contextlib
import csv
import os
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.data import table_rows, tables
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
    text = table(folder, 'filepath,caption\nimg/a.jpg,a cat\nimg/b.jpg,"a ""dog"", wet"\nimg/a.jpg,one cat\n')
    assert open_table(text).fingerprint == source.fingerprint


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
    assert "it has 'image', 'caption', 'long_caption'. Nearest: long_caption" in str(caught.value)
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
        "an address and not a file",
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


@pytest.mark.parametrize("start", ["file://", "file://localhost", "file:"])
def test_an_address_of_a_file_of_this_machine_is_its_path(folder, start):
    (folder / "img" / "a b.jpg").write_bytes(b"image a b")
    address = start + (folder / "img" / "a b.jpg").as_uri().removeprefix("file://")
    assert contents(open_table(table(folder, f"image,text\n{address},x\n"))) == [("img/a b.jpg", b"image a b", ("x",))]


def test_an_address_of_a_file_of_another_machine_is_none(folder):
    source = open_table(table(folder, f"image,text\nimg/a.jpg,x\nfile://nas{folder}/img/b.jpg,y\n"))
    assert [problem.reason for problem in source.problems] == ["an address and not a file"]


def test_names_of_columns_are_known_in_any_spelling(folder):
    source = open_table(table(folder, "Image Path,Alt-Text\nimg/a.jpg,x\n"))
    assert contents(source) == [("img/a.jpg", b"image a", ("x",))]


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
    assert [problem.reason for problem in source.problems].count("quote that is not closed") == 1


@pytest.mark.parametrize("row", [",", "x", "img/a.jpg,", '"x"y"'])
def test_a_table_of_which_most_rows_cannot_be_used_is_refused_before_the_end(folder, row, monkeypatch):
    monkeypatch.setattr(tables, "MOST_UNUSABLE", 100)
    with pytest.raises(RefusedInput, match=r"101 of 10\d rows of .* cannot be used: 101 x "):
        open_table(table(folder, "image,caption\n" + f"{row}\n" * 1000))
    good = "img/a.jpg,a cat\n" * 200
    assert len(open_table(table(folder, f"image,caption\n{good}" + f"{row}\n" * 150)).problems) == 150


def test_no_usable_row_is_a_usage_error_with_the_reasons(folder):
    with pytest.raises(UsageError, match=r"No pairs in '.*' \(2 rows\): 2 x missing file; .*/x\.jpg'\."):
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


@pytest.mark.journey
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
    parquet.write_table(pyarrow.table({"image": [{"url": "x.jpg"}], "text": ["x"]}), path)
    with pytest.raises(RefusedInput, match=r"column 'image' of .* holds struct<url: .* and no bytes of images"):
        open_table(path)
    parquet.write_table(pyarrow.table({"image": ["x.jpg"], "text": [{"en": "x"}]}), path)
    with pytest.raises(RefusedInput, match=r"'text' of .* holds struct<en: string>, not text or lists of text"):
        open_table(path)


# Quotes


@pytest.mark.parametrize(
    "caption",
    [
        '"a square on a hill',
        '12" vinyl record',
        '"on" a hill',
        'the "red" one',
        '"',
        'a "" b',
        '"a", "b" and c',
        'a 12"',
    ],
)
def test_a_quote_that_does_not_enclose_its_field_is_a_character_in_a_tsv(folder, caption):
    rows = f"image\tcaption\nimg/a.jpg\t{caption}\nimg/b.jpg\ttwo\nimg/c.jpg\t{caption}\n"
    source = open_table(table(folder, rows, "t.tsv"))
    assert [item.captions for item in source] == [(caption,), ("two",), (caption,)]
    assert not source.problems


@pytest.mark.parametrize("caption", ['12" vinyl record', '"on" a hill', 'the "red" one', 'a 12"', 'a "" b'])
def test_so_it_is_in_a_csv_where_it_is_closed_on_its_line(folder, caption):
    source = open_table(table(folder, f"image,caption\nimg/a.jpg,{caption}\nimg/b.jpg,two\n"))
    assert [item.captions for item in source] == [(caption,), ("two",)]


@pytest.mark.parametrize(
    "behind",
    [
        "",
        'img/c.jpg,"quoted, too"\n',
        'img/c.jpg,"closed"\n',
        'img/c.jpg,a 12"\n',
        'img/c.jpg,""\n',
        'img/c.jpg,"open again\n',
        "\n\n\n",
        "x" * 50 + "\n",
    ],
)
@pytest.mark.parametrize("last", ["", '"', '",'])
def test_an_open_quote_in_a_csv_costs_its_own_row_and_no_other(folder, behind, last):
    """Whatever stands behind it, on the next line and at the end of the table."""
    rows = f'image,caption\nimg/a.jpg,"never closed\n{behind}img/b.jpg,two{last}\n'
    source = open_table(table(folder, rows))
    assert "img/a.jpg" not in [item.key for item in source]
    assert [item.captions[0].rstrip('",') for item in source if item.key == "img/b.jpg"] == ["two"]
    assert ("line 2", "quote that is not closed") in [(problem.key, problem.reason) for problem in source.problems]


def test_captions_of_several_lines_are_read_as_a_csv_writer_wrote_them(folder):
    texts = [
        'one\ntwo, "three"',
        ' lines\n\nand "lines"\n',
        "a, b",
        'img/b.jpg, "x"\nlines',
        "plain",
        '"',
        "\n".join("abc"),
    ]
    names = "abcabca"
    path = folder / "t.csv"
    for delimiter in ",;|\t":
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerow(["n", "caption", "image"])
            writer.writerows(
                [[n, text, f"img/{name}.jpg"] for n, (name, text) in enumerate(zip(names, texts, strict=True))]
            )
        source = open_table(path)
        assert not source.problems
        expected = {name: tuple(t.strip() for t, n in zip(texts, names, strict=True) if n == name) for name in "abc"}
        assert {item.key[4]: item.captions for item in source} == expected


@pytest.mark.journey
@settings(max_examples=200)
@given(st.lists(st.text(alphabet='ab",;\n\t |', max_size=12), min_size=1, max_size=8), st.sampled_from(",;\t|"))
def test_whatever_a_csv_writer_writes_is_read_back(tmp_path_factory, captions, delimiter):
    folder = tmp_path_factory.mktemp("t")
    (folder / "a.jpg").write_bytes(b"1")
    with open(folder / "t.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows(
            [["image", "x", "caption"], *(["a.jpg", "1", caption] for caption in captions), ["a.jpg", 1, "end"]]
        )
    assert open_table(folder / "t.csv").captions(0) == (*(text.strip() for text in captions if text.strip()), "end")


def test_a_caption_with_a_bare_separator_is_not_cut_but_counted(folder):
    source = open_table(table(folder, "image,caption\nimg/a.jpg,a cat, a dog\nimg/b.jpg,two,\nimg/c.jpg,three,,\n"))
    assert [item.captions for item in source] == [("two",), ("three",)]
    assert [(problem.key, problem.reason, problem.detail) for problem in source.problems] == [
        ("line 2", "row with too many columns", "3 of 2; put a field with ',' in it in quotes")
    ]


# Tables of others


def test_two_columns_of_one_name_are_refused_and_another_candidate_is_named(folder):
    with pytest.raises(RefusedInput, match="several columns 'caption'; give each a name of its own"):
        open_table(table(folder, "image,caption,caption\nimg/a.jpg,one,two\n"))
    with pytest.raises(RefusedInput, match="several columns 'file'"):
        open_table(table(folder, "file,caption,file\nimg/a.jpg,one,two\n"), image_column="file")
    source = open_table(table(folder, "title,image,caption,path\nthe title,img/a.jpg,one,x\n"))
    assert source.captions(0) == ("one",)
    assert source.notes == (
        "the image is column 'image'; 'path' might have been it too.",
        "the caption is column 'caption'; 'title' might have been it too.",
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("results.csv", "image_name| comment_number| comment\na.jpg| 0| A cat .\nb.jpg| 1| A dog, wet .\n"),
        ("captions.txt", 'image,caption\na.jpg,A cat .\nb.jpg,"A dog, wet ."\n'),
        ("Flickr8k.token.txt", "a.jpg#0\tA cat .\nb.jpg#4\tA dog, wet .\n"),
        ("metadata.csv", 'file_name,text\na.jpg,A cat .\nb.jpg,"A dog, wet ."\n'),
        (
            "metadata.jsonl",
            '{"file_name": "a.jpg", "text": "A cat ."}\n\n{"text": ["A dog, wet ."], "file_name": "b.jpg"}\n',
        ),
        ("pairs.tsv", "image\tcaption\na.jpg\tA cat .\n.\\b.jpg\tA dog, wet .\n"),
    ],
)
@pytest.mark.parametrize("beside", ["", "Images"])
def test_the_files_that_known_sets_come_with_are_read(tmp_path, name, text, beside):
    folder = tmp_path
    (folder / beside).mkdir(exist_ok=True)
    for image in "ab":
        (folder / beside / f"{image}.jpg").write_bytes(image.encode())
    source = open_table(table(folder, text, name))
    assert contents(source) == [("a.jpg", b"a", ("A cat .",)), ("b.jpg", b"b", ("A dog, wet .",))]
    assert not source.problems
    assert any("'Images'" in note for note in source.notes) == bool(beside)


@pytest.mark.parametrize("written", ["img\\a.jpg", ".\\img\\a.jpg", "img\\..\\img\\a.jpg"])
def test_paths_of_windows_are_read(folder, written):
    source = open_table(table(folder, f"image,caption\n{written},one\nimg/a.jpg,two\n"))
    assert contents(source) == [("img/a.jpg", b"image a", ("one", "two"))]
    (folder / "x\\y.jpg").write_bytes(b"1")
    assert [item.key for item in open_table(table(folder, "image,caption\nx\\y.jpg,one\n"))] == ["x\\y.jpg"]


def test_a_first_file_that_is_nowhere_is_told_with_the_place_it_was_looked_for(folder):
    with pytest.raises(UsageError) as caught:
        open_table(table(folder, "image,caption\n" + "".join(f"photos/{n}.jpg,x\n" for n in range(2000))))
    assert str(caught.value).endswith(
        f"(2,000 rows): 2,000 x missing file; the first was looked for at '{folder / 'photos' / '0.jpg'}'."
    )


@pytest.mark.parametrize("kind", [pyarrow.string_view(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())])
def test_texts_of_parquet_may_be_views_or_categories(folder, kind):
    columns = {
        "image": pyarrow.array(["img/a.jpg", "img/b.jpg", "img/a.jpg"]),
        "caption": pyarrow.array(["x", "y", "x"]),
    }
    parquet.write_table(
        pyarrow.table({name: column.cast(kind) for name, column in columns.items()}), folder / "t.parquet"
    )
    assert [(item.key, item.captions) for item in open_table(folder / "t.parquet")] == [
        ("img/a.jpg", ("x", "x")),
        ("img/b.jpg", ("y",)),
    ]


@pytest.mark.parametrize(
    "images", [[b"1", b"2", None], [{"bytes": b"1", "path": "x"}, {"bytes": b"2", "path": None}, None]]
)
@pytest.mark.parametrize("captions", [["x", "y", "z"], [["x", "xx", ""], ["y"], ["z"]]])
def test_images_of_parquet_may_lie_in_the_row_and_captions_in_lists(folder, images, captions):
    parquet.write_table(pyarrow.table({"image": images, "caption": captions}), folder / "t.parquet", row_group_size=2)
    source = open_table(folder / "t.parquet")
    first = ("x", "xx") if isinstance(captions[0], list) else ("x",)
    assert [(item.image, item.captions) for item in source] == [(b"1", first), (b"2", ("y",))]
    assert [problem.reason for problem in source.problems] == ["caption without image"]


def test_images_of_parquet_may_be_named_where_they_do_not_lie_in_the_row(folder):
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    images = [{"bytes": None, "path": "img/a.jpg"}, {"bytes": b"2", "path": "gone.jpg"}]
    images += [{"bytes": None, "path": "gone.jpg"}, {"bytes": None, "path": None}, None]
    columns = {"image": pyarrow.array(images, kind), "caption": ["one", "two", "three", "four", "five"]}
    parquet.write_table(pyarrow.table(columns), folder / "t.parquet", row_group_size=2)
    source = open_table(folder / "t.parquet")
    assert sorted((item.image, item.captions) for item in source) == [(b"2", ("two",)), (b"image a", ("one",))]
    assert sorted(problem.reason for problem in source.problems) == [
        "caption without image",
        "caption without image",
        "missing file",
    ]


def test_json_lines_that_are_none_are_counted(folder):
    lines = ['{"image": "img/a.jpg", "caption": "one"}', "{", "[]", '{"image": 3, "caption": "x"}', '{"caption": "x"}']
    source = open_table(table(folder, "\n".join([*lines, '{"image": "img/b.jpg"}', "[" * 100_000]), "t.jsonl"))
    assert contents(source) == [("img/a.jpg", b"image a", ("one",))]
    assert [(problem.key, problem.reason) for problem in source.problems] == [
        ("line 2", "unreadable json"),
        ("line 3", "not a json object"),
        ("line 4", "row without image path"),
        ("line 5", "row without image path"),
        ("img/b.jpg", "empty caption"),
        ("line 7", "unreadable json"),
    ]


def test_a_parquet_file_that_lacks_rows_of_one_column_is_refused(folder, monkeypatch):
    path = folder / "t.parquet"
    parquet.write_table(pyarrow.table({"image": ["img/a.jpg"] * 3, "text": ["x"] * 3}), path)
    whole = table_rows.column_values
    for lacking in ("image", "text"):
        monkeypatch.setattr(
            table_rows,
            "column_values",
            lambda path, name, group, lacking=lacking, **more: list(whole(path, name, group, **more))[
                name == lacking :
            ],
        )
        with pytest.raises(RefusedInput, match="row group 0, lacks rows of a column; fetch or write it again"):
            open_table(path)

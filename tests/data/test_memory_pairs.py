"""Frames and sequences in memory as pairs."""

import errno
import io
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

import seesay
from seesay.base.errors import StorageError, UsageError
from seesay.data import memory_pairs, pairs
from seesay.data.decode import decode
from seesay.data.evalsets import open_evalset
from seesay.data.pairs import as_files, on_disk, open_pairs


def encoded(colour: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (colour, 0, 0)).save(file, "PNG")
    return file.getvalue()


def contents(source) -> list[tuple[str, bytes, tuple[str, ...]]]:
    return [(item.key, item.image, item.captions) for item in source]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(encoded(ord(name)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


PATHS = {"image": ["a.png", "b.png", "gone.png", "a.png"], "caption": ["one", "two", "three", "four"]}


@pytest.mark.parametrize("library", ["pyarrow", "pandas", "polars"])
def test_a_frame_is_a_table(folder, library):
    module = pytest.importorskip(library)
    frame = module.table if library == "pyarrow" else module.DataFrame
    source = open_pairs(frame(PATHS))
    assert contents(source) == [("a.png", encoded(97), ("one", "four")), ("b.png", encoded(98), ("two",))]
    assert [(problem.key, problem.reason) for problem in source.problems] == [("gone.png", "missing file")]
    assert source.name == "frame"
    named = frame({"x": ["a.png"], "y": ["cat"], "caption": ["no"]})
    assert open_pairs([named], image_column="x", caption_column="y").captions(0) == ("cat",)
    with pytest.raises(UsageError, match=r"frame.* has no column that looks like the image; name it with image_column"):
        open_pairs(named)
    lists = frame({"image": [encoded(1), None], "caption": [["x", "y"], ["z"]]})
    source = open_pairs(lists)
    assert contents(source) == [("row 1", encoded(1), ("x", "y"))]
    assert [problem.reason for problem in source.problems] == ["caption without image"]


def test_images_of_a_data_set_as_hugging_face_stores_them(folder):
    images = [{"bytes": encoded(3), "path": None}, {"bytes": None, "path": "b.png"}]
    source = open_pairs(pyarrow.table({"image": images, "text": ["x", "y"]}))
    assert contents(source) == [("row 1", encoded(3), ("x",)), ("b.png", encoded(98), ("y",))]


class Examples:
    """As a data set of torch: no list, images decoded."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


@pytest.mark.parametrize("kind", [list, Examples])
def test_a_sequence_of_images_and_captions_is_a_source(folder, kind):
    noise = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    items = [(noise, "noise"), (Image.fromarray(noise), ["a", "b"]), ("a.png", "path"), (encoded(5), "bytes")]
    source = open_pairs(kind([*items, (noise, ""), (None, "x")]))
    assert [item.captions for item in source] == [("noise",), ("a", "b"), ("path",), ("bytes",)]
    assert [np.array_equal(decode(source[index].image), noise) for index in range(2)] == [True, True]
    assert source[3].image == encoded(5) and source.key(0) == "example 0" and source.location(1) == "example 1"
    assert sorted(problem.reason for problem in source.problems) == ["caption without image", "empty caption"]


def test_examples_may_be_dicts(folder):
    source = open_pairs([{"img": Image.open("a.png"), "text": "x", "id": 1}])
    assert source.captions(0) == ("x",) and decode(source[0].image)[0, 0, 0] == 97


def test_what_other_processes_read_must_be_on_disk(folder):
    with pytest.raises(UsageError, match="in memory, where only paths are taken; write a file first"):
        on_disk(pyarrow.table(PATHS))
    with pytest.raises(UsageError, match="in memory"):
        open_evalset(pyarrow.table(PATHS))
    assert on_disk(["a", "b"]) == ["a", "b"] and on_disk("a") == ["a"]
    with pytest.raises(UsageError, match="2 sources, one of them in memory"):
        open_pairs([pyarrow.table(PATHS), folder])
    with pytest.raises(UsageError, match="has a float as its image"):
        open_pairs(pyarrow.table({"image": [1.5], "caption": ["x"]}))


NOISE = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
IN_MEMORY = {
    "paths": lambda: pyarrow.table(PATHS),
    "bytes": lambda: pyarrow.table({"image": [encoded(1), None, b""], "caption": [["x", "y"], ["z"], ["w"]]}),
    "structs": lambda: pyarrow.table(
        {"image": [{"bytes": encoded(3), "path": None}, {"bytes": None, "path": "b.png"}], "text": ["x", "y"]}
    ),
    "examples": lambda: Examples([(NOISE, "noise"), ("a.png", ["a", "b"]), (encoded(5), "bytes"), (NOISE, "")]),
    "dicts": lambda: [{"img": Image.open("a.png"), "text": "x", "id": 1}],
}


@pytest.mark.parametrize("kind", IN_MEMORY)
def test_what_is_in_memory_is_the_same_from_a_file(folder, kind, monkeypatch):
    source = open_pairs(IN_MEMORY[kind]())
    with as_files(IN_MEMORY[kind]()) as (path,):
        # Another process has another working folder.
        monkeypatch.chdir("/")
        stored = open_pairs(path)
        assert [item.captions for item in stored] == [item.captions for item in source]
        assert sorted(problem.reason for problem in stored.problems) == sorted(
            problem.reason for problem in source.problems
        )
        monkeypatch.chdir(folder)
        for found, right in zip(stored, source, strict=True):
            assert found.image == right.image or np.array_equal(decode(found.image), decode(right.image))
    assert not Path(path).exists()


def test_columns_that_are_named_are_those_of_the_file(folder):
    frame = pyarrow.table({"x": ["a.png"], "y": ["cat"], "caption": ["no"]})
    named = {"image_column": "x", "caption_column": "y"}
    with as_files([frame, folder], **named) as (path, other):
        assert open_pairs(path, **named).captions(0) == ("cat",) and other == str(folder)


def test_a_full_disk_of_the_block_is_not_that_of_the_file(folder, monkeypatch):
    with pytest.raises(OSError, match="another file"), as_files(pyarrow.table(PATHS)):
        raise OSError(errno.ENOSPC, "another file")

    def full(*_arguments, **_named):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pairs, "write_memory", full)
    with pytest.raises(StorageError, match=r"frame\.parquet"), as_files(pyarrow.table(PATHS)):
        pass


def test_many_rows_are_written_some_at_a_time(folder, monkeypatch):
    monkeypatch.setattr(memory_pairs, "BYTES_AT_ONCE", 1)
    images = [encoded(colour) for colour in range(7)]
    with as_files(list(zip(images, "abcdefg", strict=True))) as (path,):
        assert pyarrow.parquet.ParquetFile(path).metadata.num_row_groups == len(images)
        assert [item.image for item in open_pairs(path)] == images


def test_a_file_that_stays_is_of_the_same_pairs_the_second_time(folder):
    for _ in range(2):
        with as_files(pyarrow.table(PATHS), folder=folder) as paths:
            assert paths == [str(folder / "frame.parquet")]
    assert len(open_pairs(paths)) == 2
    with (
        pytest.raises(UsageError, match=r"frame\.parquet has other pairs than those given"),
        as_files(pyarrow.table({"image": ["a.png"], "caption": ["other"]}), folder=folder),
    ):
        pass
    assert len(open_pairs(paths)) == 2


def test_a_frame_is_measured_on_as_its_table_is(folder, colour_model, paint):
    rows = [(str(paint(folder / f"{name}.png", name)), name) for name in ("red", "green", "blue")]
    frame = pyarrow.table({"image": [path for path, _ in rows], "caption": [name for _, name in rows]})
    (folder / "table.csv").write_text("image,caption\n" + "".join(f"{path},{name}\n" for path, name in rows))
    one, other = (seesay.evaluate(colour_model, source).entries[0].result for source in (frame, "table.csv"))
    assert one.recalls("image_to_text") == other.recalls("image_to_text") and one.set_name == "frame"
    renamed = frame.rename_columns(["pic", "words"])
    with pytest.raises(
        UsageError, match="the frame' has no column that looks like the image; name it with image_column"
    ):
        seesay.evaluate(colour_model, renamed)
    named = {"image_column": "pic", "caption_column": "words"}
    (entry,) = seesay.evaluate(colour_model, renamed, **named).entries
    assert entry.result.recalls("image_to_text") == one.recalls("image_to_text") and entry.to_json()[0]["place"] is None
    Path("named.csv").write_text((folder / "table.csv").read_text().replace("image,caption", "pic,words"))
    assert seesay.evaluate(colour_model, "named.csv", **named).entries[0].result.n == 3
    with pytest.raises(UsageError, match=r"a column was named, but none of .* is a table with it"):
        seesay.evaluate(colour_model, str(folder / "red.png"), **named)


@pytest.mark.journey
def test_the_doctor_takes_frames_too(coloured_pairs):
    source = open_pairs(coloured_pairs(48))
    frame = pyarrow.table({"image": [item.image for item in source], "caption": [item.captions for item in source]})
    report = seesay.doctor(frame, model="conv-tiny", batch_size=8, steps=4, seconds=1, sample=10)
    assert (report.name, report.pairs, report.overfit.pairs) == ("frame.parquet", len(source), 8)

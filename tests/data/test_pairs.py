"""Folders of pairs, and every kind of place behind `open_pairs`."""

import errno
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from systems import needs_fork

from seesay.base.errors import BrokenSample, StorageError, UsageError
from seesay.data.images import decode
from seesay.data.pairs import open_pairs

SHARED = Path(__file__).parents[3] / "shared" / "data"


def write(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def reasons(source) -> list[tuple[str, str]]:
    return sorted((problem.key, problem.reason) for problem in source.problems)


# Folders


def test_a_folder_gives_pairs_sorted_by_path_at_any_depth(tmp_path):
    write(tmp_path, {"b.PNG": "B", "b.txt": "two\n\n  zwei\r\n", "a/z.jpeg": "AZ", "a/z.txt": "\ufeffone"})
    write(tmp_path, {"c.v2.webp": "C", "c.v2.txt": "three", "d.gif": "D", "d.txt": "line\u2028separator"})
    source = open_pairs([tmp_path])
    assert [(item.key, item.image, item.captions) for item in source] == [
        ("a/z", b"AZ", ("one",)),
        ("b", b"B", ("two", "zwei")),
        ("c.v2", b"C", ("three",)),
        ("d", b"D", ("line\u2028separator",)),
    ]
    assert source.name == tmp_path.name
    assert list(source.problems) == []


def test_what_is_not_a_whole_pair_in_a_folder_is_counted_by_reason(tmp_path):
    write(tmp_path, {"good.jpg": "1", "good.txt": "cat", "alone.jpg": "1", "words.txt": "x", "blank.png": "1"})
    write(tmp_path, {"blank.txt": " \n", "twice.jpg": "1", "twice.png": "2", "twice.txt": "x", "hollow.jpg": ""})
    write(tmp_path, {"hollow.txt": "x", "photo.psd": "1", "photo.txt": "x", "latin.jpg": "1", "latin.txt": b"caf\xe9"})
    write(tmp_path, {".hidden.jpg": "1", ".git/x.jpg": "1", "notes.md": "ignored", "long.jpg": "1"})
    write(tmp_path, {"long.txt": "x" * (1 << 20) + "y"})
    source = open_pairs([tmp_path])
    assert [item.key for item in source] == ["good", "twice"]
    assert reasons(source) == [
        ("alone", "image without caption"),
        ("blank", "empty caption"),
        ("hollow", "empty file"),
        ("latin", "caption is not UTF-8"),
        ("long", "caption too long"),
        ("photo", "unsupported format"),
        ("twice", "duplicate key"),
        ("words", "caption without image"),
    ]


def test_links_and_pipes_in_a_folder_are_not_followed_or_waited_for(tmp_path):
    folder = write(tmp_path / "set", {"good.jpg": "1", "good.txt": "cat", "pipe.txt": "x"})
    write(tmp_path, {"secret.jpg": "1", "more/a.jpg": "1", "more/a.txt": "x"})
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "loop").symlink_to(folder)
    (folder / "dangling.txt").symlink_to(tmp_path / "nothing")
    os.mkfifo(folder / "pipe.jpg")
    source = open_pairs([folder])
    assert [item.key for item in source] == ["good"]
    assert reasons(source) == [
        ("dangling.txt", "a link, which is not followed"),
        ("link.jpg", "a link, which is not followed"),
        ("loop", "a link, which is not followed"),
        ("pipe", "caption without image"),
        ("pipe.jpg", "not a regular file"),
    ]
    (tmp_path / "alias").symlink_to(folder)
    assert len(open_pairs([tmp_path / "alias"])) == 1


def test_a_file_name_that_is_not_utf8_is_a_key_like_any_other(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    source = open_pairs([write(tmp_path, {f"{name}.jpg": "1", f"{name}.txt": "x"})])
    assert source[0].key == name and source[0].image == b"1" and len(source.fingerprint) == 64


def test_captions_do_not_touch_the_image_and_a_lost_image_is_a_broken_sample(tmp_path):
    write(tmp_path, {"a.jpg": "1", "a.txt": "cat"})
    source = open_pairs([tmp_path])
    (tmp_path / "a.jpg").unlink()
    assert source.captions(0) == ("cat",)
    with pytest.raises(BrokenSample) as caught:
        source[0]
    assert caught.value.reason == "missing file"
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(BrokenSample, match="not a regular file"):
        source[0]


def test_an_enormous_file_is_refused_without_reading_it(tmp_path):
    write(tmp_path, {"a.jpg": "1", "a.txt": "cat"})
    os.truncate(tmp_path / "a.jpg", 1 << 40)
    with pytest.raises(BrokenSample, match="file too large"):
        open_pairs([tmp_path])[0]


def test_the_fingerprint_follows_content_and_neither_place_nor_time(tmp_path):
    files = {"a.jpg": "1", "a.txt": "cat", "b/c.png": "22", "b/c.txt": "dog"}
    first = open_pairs([write(tmp_path / "one", files)]).fingerprint
    copy = write(tmp_path / "elsewhere" / "two", files)
    os.utime(copy / "a.jpg", (1, 1))
    assert open_pairs([copy]).fingerprint == first
    for change in ({"a.txt": "cats"}, {"a.jpg": "1+"}, {"d.jpg": "1", "d.txt": "new"}):
        assert open_pairs([write(tmp_path / "+".join(change), {**files, **change})]).fingerprint != first


# Errors


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({f"{n}.jpg": "1" for n in range(12)}, "12 images and no captions: write x.txt beside x.jpg, or use a table"),
        ({"a.txt": "x"}, "no images and 1 caption: images are x.jpg, .png, .heic and others"),
        ({"notes.md": "x"}, "no images and no captions"),
        (
            {"a.jpg": "1", "b.txt": "x"},
            "1 image and 1 caption, but 1 x image without caption, 1 x caption without image",
        ),
        ({"a.psd": "1"}, "no images and no captions (1 x unsupported format)"),
        ({"a.jpg": "1", "a.txt": ""}, "1 x empty caption"),
        ({"in/x.tar": "1"}, "1 .tar in folders below it"),
    ],
    ids=range(7),
)
def test_a_folder_without_pairs_says_what_it_has_instead(tmp_path, files, message):
    with pytest.raises(UsageError) as caught:
        open_pairs([write(tmp_path, files)])
    assert message in str(caught.value)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


def test_a_place_that_is_not_there_is_answered_with_near_names(tmp_path):
    write(tmp_path / "flickr8k", {"a.jpg": "1", "a.txt": "x"})
    with pytest.raises(UsageError, match=r"has no 'flikr8k'\. Nearest: flickr8k\."):
        open_pairs([tmp_path / "flikr8k"])
    with pytest.raises(UsageError, match=r"has no 'flikr8k'\. Nearest: flickr8k\."):
        open_pairs([tmp_path / "flikr8k" / "train" / "x.csv"])
    with pytest.raises(UsageError, match=r"Nothing matches '.*/\*\.tar'"):
        open_pairs([tmp_path / "*.tar"])


def test_what_is_neither_folder_tar_nor_table_is_a_usage_error(tmp_path):
    write(tmp_path, {"a.jpg": "1"})
    with pytest.raises(UsageError, match=r"is not a folder, a \.tar, or a table"):
        open_pairs([tmp_path / "a.jpg"])
    os.mkfifo(tmp_path / "pipe.tar")
    with pytest.raises(UsageError, match="neither a folder nor a regular file"):
        open_pairs([tmp_path / "pipe.tar"])
    with pytest.raises(UsageError, match="no source of pairs"):
        open_pairs([])


def test_a_column_named_where_there_is_no_table_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"none of .* is a table with it"):
        open_pairs([write(tmp_path, {"a.jpg": "1", "a.txt": "x"})], caption_column="title")
    write(tmp_path, {"t.csv": "image,title\na.jpg,named\n"})
    assert open_pairs([tmp_path], caption_column="title").captions(0) == ("named",)
    with pytest.raises(UsageError, match=r"none of .* is a table"):
        open_pairs([tmp_path / "t.tar"], caption_column="title")


# Several places


@pytest.fixture
def places(tmp_path, write_tar) -> list[Path]:
    """A folder, a table, a folder of tars and a pattern: 2 + 1 + 3 + 1 pairs."""
    write(tmp_path / "folder", {"a.jpg": "fa", "a.txt": "one", "b.jpg": "fb", "b.txt": "two"})
    write(tmp_path / "table", {"t.csv": "image,about\nx.jpg,three\n", "x.jpg": "tx"})
    write_tar(tmp_path / "tars" / "1.tar", {"q.jpg": b"1q", "q.txt": b"five"})
    write_tar(tmp_path / "tars" / "0.tar", {"r.jpg": b"0r", "r.txt": b"four", "lost.jpg": b"x"})
    write_tar(tmp_path / "tars" / "2.tar", {"r.jpg": b"2r", "r.txt": b"six"})
    return [tmp_path / "folder", tmp_path / "table" / "t.csv", tmp_path / "tars", tmp_path / "tars" / "[2-9].tar"]


def test_several_places_are_one_after_the_other(places):
    source = open_pairs(places, caption_column="about")
    images = [b"fa", b"fb", b"tx", b"0r", b"1q", b"2r", b"2r"]
    captions = [("one",), ("two",), ("three",), ("four",), ("five",), ("six",), ("six",)]
    assert len(source) == 7
    assert [item.image for item in source] == images
    assert [source[index].image for index in range(-7, 0)] == images
    assert [source.captions(index) for index in range(7)] == captions
    assert source.name == "folder + t.csv + tars + tars/[2-9].tar"
    assert reasons(source) == [("0.tar/lost", "image without caption")]
    for index in (7, -8):
        with pytest.raises(IndexError):
            source[index]
    restored = pickle.loads(pickle.dumps(source))
    assert restored[3] == source[3] and restored.fingerprint == source.fingerprint


def test_keys_of_places_of_one_name_differ(tmp_path, paint):
    """By its key `overlap` finds the images that are to be left out."""
    for above in ("one", "two", "three"):
        paint(tmp_path / above / "set" / "train" / "a.png", "red").with_suffix(".txt").write_text("red")
    pairs = open_pairs([tmp_path / above / "set" / "train" for above in ("one", "two", "three")])
    assert [pairs.key(index) for index in range(3)] == ["set/train/a", "set/train (2)/a", "set/train (3)/a"]
    # As copies of a folder are called by some systems.
    places = [tmp_path / name for name in ("one/set", "two/set", "three/set (2)", "two/set")]
    paint(places[2] / "train" / "a.png", "red").with_suffix(".txt").write_text("red")
    pairs = open_pairs(places)
    keys = [pairs.key(index) for index in range(4)]
    assert keys == ["set/train/a", "set (3)/train/a", "set (2)/train/a", "set (4)/train/a"]


def test_the_fingerprint_of_several_places_follows_their_order(places):
    some = [places[0], places[2]]
    assert open_pairs(some).fingerprint == open_pairs(some).fingerprint != open_pairs(some[::-1]).fingerprint


def test_a_single_place_may_be_given_without_a_list(places):
    assert len(open_pairs(str(places[0]))) == len(open_pairs(places[:1])) == 2


def test_a_pattern_may_match_folders(places):
    pattern = places[0].parent / "[ft][oa][lr][ds]*"
    assert len(open_pairs([pattern])) == 5


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_reads_the_same_bytes(places):
    source = open_pairs([places[2]])
    expected = [item.image for item in source]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, b"same" if [item.image for item in source] == expected else b"else")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 4) == b"same"
    os.close(reader)
    os.close(writer)


@pytest.mark.journey
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real pairs at {SHARED}")
def test_real_shards_have_as_many_pairs_and_captions_as_their_list_says():
    source = open_pairs([SHARED / "train-emoji", SHARED / "train-nlvr"])
    assert len(source) == 1589 + 408
    assert sum(len(source.captions(index)) for index in range(len(source))) == 2230 + 408
    assert list(source.problems) == []
    for index in range(0, len(source), 97):
        data = source[index].image
        with Image.open(io.BytesIO(data)) as image:
            assert np.array_equal(decode(data), np.array(image.convert("RGB")))


def test_too_many_open_files_are_not_taken_for_a_broken_image(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "a.txt").write_text("a")
    pairs = open_pairs([tmp_path])

    def full(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(StorageError, match=r"a\.jpg cannot be opened \(Too many open files\); raise the limit"):
        pairs[0]


# What else lies in a folder


def test_tars_of_any_case_and_loose_pairs_beside_them_are_all_used(tmp_path, write_tar):
    for name in ("00.tar", "01.TAR"):
        write_tar(tmp_path / name, {f"{name[:2]}.jpg": b"1", f"{name[:2]}.txt": b"in a tar"})
    write_tar(tmp_path / "more" / "02.tar", {"02.jpg": b"1", "02.txt": b"below"})
    write(tmp_path, {"loose.jpg": "2", "loose.txt": "a loose pair", "03.tar.gz": "x", "04.tgz": "x", "alone.jpg": "1"})
    source = open_pairs([tmp_path])
    assert [(item.image, item.captions) for item in source] == [
        (b"1", ("in a tar",)),
        (b"1", ("in a tar",)),
        (b"2", ("a loose pair",)),
    ]
    assert reasons(source) == [
        ("03.tar.gz", "compressed tar"),
        ("04.tgz", "compressed tar"),
        ("alone", "image without caption"),
        ("more/02.tar", "tar in a folder below"),
    ]
    (tmp_path / "loose.txt").unlink()
    source = open_pairs([tmp_path])
    assert len(source) == 2 and len(source.problems) == 5 and source.name == tmp_path.name


@pytest.mark.parametrize("name", ["x.tar.gz", "x.tgz", "x.TAR.BZ2", "x.tar.zst"])
def test_a_compressed_tar_is_refused_with_what_to_do(tmp_path, name):
    write(tmp_path, {name: "x"})
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(UsageError, match=r"compressed tar.*unpack it to a \.tar, as with gunzip"):
            open_pairs([source])


@pytest.mark.parametrize(
    "word",
    ["s_{00..02}.tar", "s_00.tar::s_01.tar::s_02.tar", "s_{00,01,02}.tar", "s_0{0..1}.tar::s_02.tar", "s_0{2..0}.tar"],
)
def test_shards_are_named_as_webdataset_writes_them(tmp_path, write_tar, word, monkeypatch):
    for number in range(4):
        write_tar(tmp_path / f"s_{number:02}.tar", {f"{number}.jpg": b"1", f"{number}.txt": b"x"})
    monkeypatch.chdir(tmp_path)
    source = open_pairs([word])
    assert sorted(source.key(index) for index in range(len(source))) == ["s_00.tar/0", "s_01.tar/1", "s_02.tar/2"]
    (tmp_path / "s_02.tar").unlink()
    (tmp_path / "s_01.tar").unlink()
    with pytest.raises(UsageError, match=r"2 of 3 sources are not there: 's_0[12]\.tar', 's_0[12]\.tar'\."):
        open_pairs([word])


def test_a_path_with_braces_that_is_there_is_that_path_and_a_flood_is_refused(tmp_path, write_tar):
    write_tar(tmp_path / "a{0..1}.tar", {"0.jpg": b"1", "0.txt": b"x"})
    assert len(open_pairs([tmp_path / "a{0..1}.tar"])) == 1
    with pytest.raises(UsageError, match="names more than 131,072 sources"):
        open_pairs(["{0..9999}{0..9999}.tar"])
    with pytest.raises(UsageError, match="names more than 131,072 sources"):
        open_pairs(["{000000000..999999999}.tar"])


def test_names_that_agree_up_to_the_first_dot_are_a_pair(tmp_path, write_tar):
    files = {"k.input.jpg": "1", "k.outputs.txt": "one", "d/m.jpg": "2", "d/m.caption.txt": "two"}
    files |= {"w.x.jpg": "3", "w.x.txt": "three", "b.1.jpg": "4", "b.2.jpg": "5", "b.txt": "which?", "w.y.jpg": "6"}
    folder = open_pairs([write(tmp_path / "folder", files)])
    write_tar(tmp_path / "x.tar", {name: text.encode() for name, text in files.items()})
    tar = open_pairs([tmp_path / "x.tar"])
    expected = {"k": (b"1", ("one",)), "d/m": (b"2", ("two",)), "w.x": (b"3", ("three",))}
    assert {item.key: (item.image, item.captions) for item in folder} == expected
    assert {item.key[6:]: (item.image, item.captions) for item in tar} == expected
    assert folder.notes == ("2 images and texts are paired by their names up to the first dot.",)
    assert {key for key, _ in reasons(folder)} == {"b.1", "b.2", "b", "w.y"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.csv", "file_name,text\na.jpg,cat\nin/b.jpg,dog\n"),
        ("metadata.jsonl", '{"file_name": "a.jpg", "text": "cat"}\n{"file_name": "in/b.jpg", "text": "dog"}\n'),
        ("captions.csv", "image|comment\na.jpg|cat\nin/b.jpg|dog\n"),
        ("captions.txt", "image,caption\na.jpg,cat\nin/b.jpg,dog\n"),
    ],
)
def test_a_table_in_the_folder_has_the_captions(tmp_path, name, text):
    write(tmp_path, {"a.jpg": "1", "in/b.jpg": "2", "c.jpg": "3", name: text, "other.csv": "id,score\n1,2\n"})
    source = open_pairs([tmp_path])
    assert [(item.key, item.captions) for item in source] == [("a.jpg", ("cat",)), ("in/b.jpg", ("dog",))]
    assert source.notes == (f"the captions are those of {name!r} in the folder.",)
    assert reasons(source) == [("c.jpg", "image without caption")]
    write(tmp_path, {"a.txt": "beside"})
    source = open_pairs([tmp_path])
    assert [item.captions for item in source] == [("beside",)]
    assert source.notes == (f"{name!r} is not read: images have texts beside them.",)


def test_two_tables_of_captions_in_a_folder_are_refused(tmp_path):
    write(tmp_path, {"a.jpg": "1", "t.csv": "image,caption\na.jpg,x\n", "u.tsv": "file\ttext\na.jpg\tx\n"})
    with pytest.raises(UsageError, match=r"several tables of captions: 't\.csv', 'u\.tsv'; name the one that is meant"):
        open_pairs([tmp_path])


@pytest.mark.parametrize(
    ("files", "shown"),
    [
        (["cat/a.jpg", "dog/b.jpg"], r"2 folders \(cat, dog\)"),
        (["train/cat/a.jpg", "train/dog/b.jpg", "val/cat/c.jpg"], r"2 folders \(cat, dog\)"),
        ([f"{name}/a.png" for name in "abcdef"], r"6 folders \(a, b, c, \.\.\.\)"),
    ],
)
def test_folders_that_look_like_classes_are_called_so(tmp_path, files, shown):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UsageError, match=rf"no captions, in {shown}, which look like classes\. Training needs"):
        open_pairs([tmp_path])


@pytest.mark.parametrize("files", [["a.jpg"], ["cat/a.jpg", "cat/b.jpg"], ["cat/a.jpg", "dog/b.jpg", "dog/c.txt"]])
def test_images_that_lie_otherwise_are_not(tmp_path, files):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UsageError, match="No pairs") as caught:
        open_pairs([tmp_path])
    assert "classes" not in str(caught.value)

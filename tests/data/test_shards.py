"""Tar shards: the WebDataset layout, damage, and members that must not be touched."""

import json
import os
import pickle
import random
import tarfile
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from seesay.base.errors import BrokenSample, UsageError
from seesay.base.records import Skipped
from seesay.data.shards import open_shards
from seesay.data.tar_members import tar_members


def pair(key: str, caption: str = "a cat", suffix: str = "jpg") -> list[tuple[str, bytes]]:
    return [(f"{key}.{suffix}", f"image of {key}".encode()), (f"{key}.txt", caption.encode())]


def open_tar(path: Path):
    return open_shards([path], name="set")


def reasons(problems) -> list[tuple[str, str]]:
    return [(problem.key, problem.reason) for problem in problems]


def test_images_and_captions_come_back_in_the_order_they_were_written(tmp_path, write_tar):
    members = pair("b", "two") + pair("a", "one\n\n  uno \r\n", "webp") + pair("dir/c.v2", "three", "PNG")
    source = open_tar(write_tar(tmp_path / "x.tar", members))
    assert [source.captions(index) for index in range(3)] == [("two",), ("one", "uno"), ("three",)]
    assert [source[index].image for index in (2, 0, 1)] == [b"image of dir/c.v2", b"image of b", b"image of a"]
    assert [item.key for item in source] == ["x.tar/b", "x.tar/a", "x.tar/dir/c.v2"]
    assert source[-1] == source[2]
    assert list(source.problems) == []


def test_members_of_one_key_need_not_be_neighbours(tmp_path, write_tar):
    members = pair("a", "one") + pair("b", "two")
    source = open_tar(write_tar(tmp_path / "x.tar", [members[1], members[2], members[0], members[3]]))
    assert {item.key: item.captions for item in source} == {"x.tar/a": ("one",), "x.tar/b": ("two",)}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_work_in_every_tar_dialect(tmp_path, form, write_tar):
    key = "f" * 80 + "/" + "k" * 90 + "ü"
    source = open_tar(write_tar(tmp_path / "x.tar", pair(key, "a dög"), form))
    assert source[0].key == f"x.tar/{key}"
    assert source[0].captions == ("a dög",)
    assert source[0].image == f"image of {key}".encode()


def test_the_quick_header_reader_agrees_with_tarfile(tmp_path, write_tar):
    randomness = random.Random(3)
    members = [(f"{number:05}.jpg", randomness.randbytes(randomness.randrange(1, 2000))) for number in range(50)]
    members += [(f"{number:05}.txt", b"x") for number in range(50)]
    path = write_tar(tmp_path / "x.tar", members)
    source = open_tar(path)
    with tarfile.open(path) as tar:
        for item in source:
            assert item.image == tar.extractfile(item.key.removeprefix("x.tar/") + ".jpg").read()
    assert len(source) == 50


def test_the_caption_of_a_json_is_used_only_without_a_txt(tmp_path, write_tar):
    members = [("a.jpg", b"1"), ("a.json", json.dumps({"caption": " from json \n"}).encode())]
    members += [*pair("b", "from txt"), ("b.json", b'{"caption": "other"}')]
    members += [("c.jpg", b"1"), ("c.json", b'{"url": "x"}'), ("d.jpg", b"1"), ("d.json", b"{nonsense")]
    members += [
        ("e.jpg", b"1"),
        ("e.json", b"[" * 100_000),
        ("f.jpg", b"1"),
        ("f.json", b'{"caption": "half \\ud83d"}'),
    ]
    source = open_tar(write_tar(tmp_path / "x.tar", members))
    assert [item.captions for item in source] == [("from json",), ("from txt",), ("half ?",)]
    assert reasons(source.problems) == [
        ("x.tar/c", "json without caption"),
        ("x.tar/d", "unreadable json"),
        ("x.tar/e", "unreadable json"),
    ]


def test_each_kind_of_incomplete_pair_has_a_counter_of_its_own(tmp_path, write_tar):
    members = [*pair("good"), ("alone.jpg", b"1"), ("words.txt", b"no image"), *pair("blank", " \n\n")]
    members += [*pair("twice"), *pair("twice"), ("latin.jpg", b"1"), ("latin.txt", b"caf\xe9")]
    members += [("scan.psd", b"1"), ("scan.txt", b"a scan"), ("hollow.jpg", b""), ("hollow.txt", b"empty")]
    members += [("long.jpg", b"1"), ("long.txt", b"x" * (1 << 20) + b"y"), ("notes.md", b"ignored"), ("._m.jpg", b"1")]
    source = open_tar(write_tar(tmp_path / "x.tar", members))
    assert [item.key for item in source] == ["x.tar/good", "x.tar/twice"]
    assert sorted(reasons(source.problems)) == [
        ("x.tar/alone", "image without caption"),
        ("x.tar/blank", "empty caption"),
        ("x.tar/hollow", "empty file"),
        ("x.tar/latin", "caption is not UTF-8"),
        ("x.tar/long", "caption too long"),
        ("x.tar/scan", "unsupported format"),
        ("x.tar/twice", "duplicate key"),
        ("x.tar/words", "caption without image"),
    ]


def test_members_that_lead_out_or_are_no_files_are_refused(tmp_path, write_tar):
    path = write_tar(tmp_path / "x.tar", [*pair("good"), *pair("../up"), ("/abs.jpg", b"1"), ("a/../../b.txt", b"1")])
    with tarfile.open(path, "a") as tar:
        for number, kind in enumerate(
            (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
        ):
            header = tarfile.TarInfo(f"odd{number}.jpg")
            header.type, header.linkname = kind, "good.jpg"
            tar.addfile(header)
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    source = open_tar(path)
    assert [item.key for item in source] == ["x.tar/good"]
    assert [problem.reason for problem in source.problems] == ["refused member"] * 9
    assert [file.name for file in tmp_path.iterdir()] == ["x.tar"]


def sparse_header(dialect: str) -> bytes:
    """A member that claims a gigabyte of holes around one block."""
    header = tarfile.TarInfo("hollow.jpg")
    header.size = 512
    if dialect == "gnu":
        header.type = tarfile.GNUTYPE_SPARSE
        return header.tobuf(tarfile.GNU_FORMAT)
    header.pax_headers = {"GNU.sparse.size": str(1 << 30), "GNU.sparse.map": "0,512"}
    return header.tobuf(tarfile.PAX_FORMAT)


@pytest.mark.parametrize("dialect", ["gnu", "pax"])
def test_a_sparse_member_is_refused(tmp_path, dialect, write_tar):
    path = write_tar(tmp_path / "x.tar", pair("good"))
    path.write_bytes(path.read_bytes()[: 512 * 4] + sparse_header(dialect) + bytes(512) + bytes(1024))
    source = open_tar(path)
    assert len(source) == 1
    assert reasons(source.problems) == [("x.tar/hollow.jpg", "refused member")]


def test_of_a_truncated_tar_the_whole_samples_are_used_and_the_rest_is_counted(tmp_path, write_tar):
    members = [member for number in range(20) for member in pair(f"{number:02}", f"caption {number}")]
    whole = write_tar(tmp_path / "whole.tar", members).read_bytes()
    for cut in (512 * 13 + 7, 512 * 14 + 100, 512 * 15, 512 * 60 + 511, 512 * 80):
        path = tmp_path / "cut.tar"
        path.write_bytes(whole[:cut])
        source = open_tar(path)
        # Four blocks for each pair: two headers, two bodies; a body of less than a block may be whole in a cut block.
        assert len(source) in (cut // 2048, cut // 2048 + 1)
        for number, item in enumerate(source):
            assert (item.image, item.captions) == (f"image of {number:02}".encode(), (f"caption {number}",))
        found = [reason for _, reason in reasons(source.problems)]
        assert found.count("truncated shard") == 1
        assert set(found) <= {"truncated shard", "image without caption"}


def test_a_damaged_header_ends_a_shard_and_is_counted(tmp_path, write_tar):
    members = [member for number in range(4) for member in pair(str(number))]
    path = write_tar(tmp_path / "x.tar", members)
    data = bytearray(path.read_bytes())
    data[2048 * 2 + 3] ^= 1
    path.write_bytes(data)
    source = open_tar(path)
    assert len(source) == 2
    assert reasons(source.problems) == [("x.tar", "damaged shard")]


def test_what_is_no_tar_is_a_problem_beside_others_and_an_error_alone(tmp_path, write_tar):
    good = write_tar(tmp_path / "good.tar", pair("a"))
    bad = tmp_path / "bad.tar"
    for content in (b"", b"hello", os.urandom(5000)):
        bad.write_bytes(content)
        source = open_shards([good, bad], name="set")
        assert len(source) == 1 and reasons(source.problems) == [("bad.tar", "not a tar file")]
        with pytest.raises(UsageError, match=r"No pairs in 'set' \(1 \.tar\): 1 x not a tar file"):
            open_shards([bad], name="set")


def test_a_member_of_negative_size_does_not_hang(tmp_path, write_tar):
    path = write_tar(tmp_path / "x.tar", pair("a"))
    header = bytearray(tarfile.TarInfo("evil.jpg").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + (-1024).to_bytes(2, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data = path.read_bytes()[: 512 * 4] + bytes(header) + bytes(1024)
    path.write_bytes(data)
    source = open_tar(path)
    assert len(source) == 1 and reasons(source.problems) == [("x.tar", "damaged shard")]


def test_a_chain_of_long_name_headers_does_not_end_the_program(tmp_path, write_tar):
    path = write_tar(tmp_path / "x.tar", pair("a"))
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 5
    link = header.tobuf(tarfile.GNU_FORMAT) + b"evil\0" + bytes(507)
    path.write_bytes(path.read_bytes()[: 512 * 4] + link * 3000 + bytes(1024))
    source = open_tar(path)
    assert len(source) == 1 and reasons(source.problems) == [("x.tar", "damaged shard")]


@pytest.mark.journey
def test_five_hundred_mutated_tars_give_pairs_or_problems(tmp_path, write_tar):
    randomness = random.Random(11)
    good = write_tar(tmp_path / "good.tar", pair("fine"))
    names = [("k" * 120, tarfile.PAX_FORMAT), ("short", tarfile.USTAR_FORMAT), ("n" * 120, tarfile.GNU_FORMAT)]
    seeds = [
        write_tar(tmp_path / "seed.tar", pair(key) + pair(key + "2"), form).read_bytes().rstrip(b"\0") + bytes(900)
        for key, form in names
    ]
    path = tmp_path / "x.tar"
    for number in range(500):
        data = bytearray(seeds[number % len(seeds)])
        for _ in range(randomness.choice((1, 3, 20))):
            data[randomness.randrange(len(data))] = randomness.choice(
                (0, 0x30, 0x37, 0x80, 0xFF, randomness.randrange(256))
            )
        path.write_bytes(data[: randomness.choice((len(data), randomness.randrange(len(data))))])
        source = open_shards([good, path], name="set")
        assert len(source) + len(source.problems) >= 1, number
        for item in source:
            assert item.image and item.captions


def test_a_shard_cut_after_opening_gives_a_broken_sample(tmp_path, write_tar):
    path = write_tar(tmp_path / "x.tar", pair("a"))
    source = open_tar(path)
    path.write_bytes(path.read_bytes()[:515])
    with pytest.raises(BrokenSample, match="truncated shard"):
        source[0]
    path.unlink()
    with pytest.raises(BrokenSample, match="missing file"):
        source[0]
    assert source.captions(0) == ("a cat",)


def test_threads_and_a_pickle_read_the_same_bytes(tmp_path, write_tar):
    members = [member for number in range(40) for member in pair(str(number))]
    source = open_tar(write_tar(tmp_path / "x.tar", members))
    expected = [item.image for item in source]
    assert [item.image for item in pickle.loads(pickle.dumps(source))] == expected
    wrong: list[int] = []

    def read(start: int) -> None:
        wrong.extend(index for index in range(start, 40) if source[index].image != expected[index])

    threads = [threading.Thread(target=read, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_fingerprint_follows_content_and_not_place(tmp_path, write_tar):
    def fingerprint_of(folder: str, members, name: str = "x.tar") -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        return open_tar(write_tar(tmp_path / folder / name, members)).fingerprint

    first = fingerprint_of("one", pair("a", "cat"))
    assert len(first) == 64
    assert fingerprint_of("two", pair("a", "cat")) == first
    assert fingerprint_of("two", pair("a", "dog")) != first
    assert fingerprint_of("two", pair("b", "cat")) != first
    assert fingerprint_of("two", pair("a", "cat\ncat")) != first
    assert fingerprint_of("two", [("a.jpg", b"longer than before"), ("a.txt", b"cat")]) != first


def test_a_million_headers_are_not_kept(tmp_path, write_tar):
    path = write_tar(tmp_path / "x.tar", [member for number in range(200) for member in pair(str(number))])
    tracemalloc.start()
    with open(path, "rb") as file:
        assert sum(member.is_file for member in tar_members(file)) == 400
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def extended(kind: bytes, data: bytes, *, size: int | None = None) -> bytes:
    """An extended header with this content, or the header alone where a size is claimed."""
    header = tarfile.TarInfo("././@Extended")
    header.type, header.size = kind, len(data) if size is None else size
    return header.tobuf(tarfile.GNU_FORMAT) + (data.ljust(-(-len(data) // 512) * 512, b"\0") if size is None else b"")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_extended_header_of_gigabytes_is_a_refused_member(tmp_path, write_tar, kind):
    path = write_tar(tmp_path / "x.tar", pair("a"))
    whole = path.read_bytes()
    with open(path, "wb") as file:
        file.write(extended(kind, b"", size=4 << 30))
        file.seek((4 << 30) + 512)  # a hole: the file takes no gigabytes
        file.write(whole)
    tracemalloc.start()
    source = open_tar(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [item.captions for item in source] == [("a cat",)]
    assert [(item.reason, item.detail) for item in source.problems] == [
        ("refused member", "an extended header of 4,294,967,296 bytes")
    ]
    assert peak < 10_000_000


@pytest.mark.parametrize("kind", [tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK])
def test_extended_headers_that_say_nothing_of_use_are_not_read(tmp_path, write_tar, kind):
    path = write_tar(tmp_path / "x.tar", pair("a"))
    whole = path.read_bytes()
    with open(path, "wb") as file:
        file.write(extended(kind, b"", size=4 << 30))
        file.seek((4 << 30) + 512)
        file.write(whole)
    source = open_tar(path)
    assert len(source) == 1 and list(source.problems) == []


def test_an_extended_header_of_digits_takes_no_time(tmp_path, write_tar):
    path = write_tar(tmp_path / "x.tar", pair("a"))
    # Python's reader looks for a pattern from each of the digits to the last one: 10 s for each header of 64 KiB.
    path.write_bytes(extended(tarfile.XHDTYPE, b"1" * 65_000) * 10 + path.read_bytes())
    started = time.process_time()
    assert len(open_tar(path)) == 1
    assert time.process_time() - started < 5


def test_a_size_that_no_file_has_ends_a_shard_and_is_counted(tmp_path, write_tar):
    path = write_tar(tmp_path / "x.tar", pair("a"))
    whole = path.read_bytes()[: 512 * 4]
    for size in ("9" * 30, "9" * 5000, str(1 << 62)):
        record = f" size={size}\n"
        record = f"{len(record) + len(str(len(record) + 4))}{record}".encode()
        path.write_bytes(whole + extended(tarfile.XHDTYPE, record) + whole)
        source = open_tar(path)
        assert len(source) == 1 and reasons(source.problems) == [("x.tar", "damaged shard")]


def test_problems_are_skipped_records(tmp_path, write_tar):
    source = open_tar(write_tar(tmp_path / "x.tar", [*pair("a"), ("b.jpg", b"1")]))
    place = f"{tmp_path / 'x.tar'}, byte 2560"
    assert list(source.problems) == [Skipped(key="x.tar/b", reason="image without caption", location=place)]

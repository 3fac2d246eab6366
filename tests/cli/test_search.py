"""`seesay search` as it is typed."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seesay.cli.search import write_paths

pytest.importorskip("lancedb", reason="LanceDB, of the extra `search`, is not installed")


@pytest.fixture
def photos(tmp_path, paint):
    for number, name in enumerate(("red", "green", "blue", "yellow")):
        paint(tmp_path / "photos" / f"{name}.png", name, side=16 + number)
    return tmp_path / "photos"


@pytest.fixture
def search(seesay, photos, tmp_path):
    def run(*words):
        return seesay("search", photos, *words, "--index", tmp_path / "index")

    return run


def test_words_give_a_table_json_or_paths_best_first(search, photos):
    code, out, err = search("red", "--top", 2)
    assert code == 0 and "4 photos, 4 added" in err and "model: the small one in the box" in err
    assert out.splitlines()[0].split() == ["score", "photo"] and "1.000" in out and "red.png" in out
    code, out, err = search("red", "--top", 2, "--format", "json")
    found = json.loads(out)
    assert [set(hit) for hit in found] == [{"path", "score"}] * 2 and "nothing new" in err
    assert [Path(hit["path"]).name for hit in found] == ["red.png", "yellow.png"]
    assert found[0]["score"] == pytest.approx(1.0, abs=1e-3)
    assert search("red", "--top", 2, "--format", "paths")[1] == f"{photos}/red.png\n{photos}/yellow.png\n"
    assert search("red", "--top", 2, "-0")[1] == f"{photos}/red.png\0{photos}/yellow.png\0"


def test_a_photo_and_words_are_added(search, photos):
    assert search("--like", photos / "red.png", "--top", 1, "--format", "paths")[1].endswith("red.png\n")
    words = ("--like", photos / "red.png", "--plus", "green", "--top", 1, "--format", "paths")
    assert search(*words)[1].endswith("yellow.png\n")
    words = ("--like", photos / "yellow.png", "--minus", "red", "--top", 1, "--format", "paths")
    assert search(*words)[1].endswith("green.png\n")


def test_a_sheet_is_drawn_with_every_photo_found(search, tmp_path):
    code, _, err = search("red", "--top", 3, "--sheet", tmp_path / "found.png")
    assert code == 0 and "sheet:" in err
    with Image.open(tmp_path / "found.png") as sheet:
        colours = {colour for _, colour in sheet.convert("RGB").getcolors(1 << 24)}
    assert any(r > 240 and g < 20 and b < 20 for r, g, b in colours)
    assert search("red", "--sheet", tmp_path / "found.csv")[0] == 2


def test_a_sheet_takes_no_photos_place_and_becomes_none(search, photos, tmp_path):
    before = (photos / "red.png").read_bytes()
    (tmp_path / "link").symlink_to(photos)
    for sheet in (photos / "red.png", photos / "found.png", tmp_path / "link" / "found.png"):
        code, out, err = search("red", "--sheet", sheet)
        assert (code, out) == (2, "") and "would be one of the photos; name another folder" in err
    assert (photos / "red.png").read_bytes() == before and len(list(photos.iterdir())) == 4


@pytest.mark.journey
def test_duplicates_come_in_groups(search, photos):
    assert search("--duplicates", "--format", "json")[1] == "[]\n"
    colours = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(colours).resize((200, 160)).save(photos / "a.png")
    Image.open(photos / "a.png").save(photos / "b.jpg", quality=70)
    (group,) = json.loads(search("--duplicates", "--format", "json")[1])
    assert [Path(path).name for path in group] == ["a.png", "b.jpg"]
    assert "b.jpg" in search("--duplicates")[1]
    assert search("--duplicates", "-0")[1] == f"{photos}/a.png\0{photos}/b.jpg\0"


def test_what_is_not_read_is_said_and_listed_and_ends_nothing(search, photos, tmp_path):
    for number in range(7):
        (photos / f"broken{number}.jpg").write_bytes(b"no image")
    code, out, err = search("red", "--bad", tmp_path / "bad.csv")
    assert code == 0 and "red.png" in out
    assert "4 photos, 4 added; 7 not read (7 x not an image)" in err and "and 2 more; --bad FILE" in err
    assert (tmp_path / "bad.csv").read_text(encoding="utf-8-sig").count("not an image") == 7


def test_photos_that_are_gone_at_once_are_told_of_and_stay(search, photos):
    assert search("red")[0] == 0
    for path in photos.iterdir():
        path.unlink()
    code, out, err = search("red")
    assert code == 0 and "red.png" in out and "4 photos are not in" in err and "--prune lets them go" in err
    assert search("red", "--prune")[0] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give WORDS, --like PHOTO or --plus WORDS, or else --duplicates alone"),
        (("red", "--duplicates"), "or else --duplicates alone"),
        (("red", "--since", "May"), "write it as 2024-05-01"),
        (("red", "--folder", "nowhere"), "has no photo in the index"),
        (("--like", "nowhere.jpg"), "There is no 'nowhere.jpg'"),
        (("red", "--bad", "list.txt"), "--bad"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(search, words, message):
    code, out, err = search(*words)
    assert code == 2 and out == "" and message in err.splitlines()[-1]


def test_without_a_cache_folder_an_index_has_to_be_named_and_with_one_it_need_not(
    seesay, photos, tmp_path, monkeypatch
):
    code, _, err = seesay("search", photos, "red")
    assert code == 2 and "name a folder for the index with --index" in err
    monkeypatch.setenv("SEESAY_CACHE", str(tmp_path / "cache"))
    before = sorted(os.listdir(photos))
    assert seesay("search", photos, "red")[0] == 0
    (made,) = (tmp_path / "cache" / "indexes").iterdir()
    assert made.name.startswith("photos-") and sorted(os.listdir(photos)) == before
    assert seesay("search", photos, "red")[2].endswith("4 photos, nothing new\n")


def test_a_file_in_place_of_a_folder_is_refused(seesay, photos):
    code, _, err = seesay("search", photos / "red.png", "red")
    assert code == 2 and "is a file; name the folder it is in" in err


def test_embed_writes_a_file_and_says_what_it_left_out(seesay, photos, tmp_path):
    (photos / "broken.png").write_bytes(b"no image")
    code, out, err = seesay("embed", photos, "--out", tmp_path / "a.npy")
    assert (code, out) == (3, f"4 vectors of 3 numbers -> {tmp_path / 'a.npy'}\n") and "broken.png: not an image" in err
    assert seesay("embed", photos, "--out", tmp_path / "a.npy", "--max-bad", 0.5)[0] == 0
    assert seesay("embed", photos, "--out", tmp_path / "a.txt")[0] == 2


def test_paths_are_the_bytes_of_file_names(capfdbinary):
    write_paths([f"{os.fsdecode(name)}\0" for name in (b"caf\xe9.png", "café.png".encode())])
    assert capfdbinary.readouterr().out == b"caf\xe9.png\0caf\xc3\xa9.png\0"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--duplicates", "--sheet", "d.png"], "--duplicates compares all photos"),
        (["red", "-0", "--format", "json"], "-0 writes paths"),
        (["red", "--since", "May"], "--since 'May' is no day"),
    ],
)
def test_options_of_which_one_would_be_left_out_are_refused_before_anything_is_encoded(search, words, complaint):
    code, out, err = search(*words)
    assert (code, out) == (2, "") and complaint in err and "added" not in err

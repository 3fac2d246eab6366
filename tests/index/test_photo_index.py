"""An index of photos: what is encoded and when, what is found, and what is never lost or touched."""

import hashlib
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import seesay
from seesay.base.errors import BrokenSample, RefusedInput, StorageError, UsageError
from seesay.base.locks import take_lock
from seesay.index import index_folder, photo_index, scan
from seesay.index.checks import sealed
from seesay.index.photo_index import open_index


def names(hits):
    return [Path(hit.path).name for hit in hits]


@pytest.fixture
def encoded(colour_model, monkeypatch):
    """How many images each call of the tower got."""
    counts, real = [], colour_model.encode_pixels
    monkeypatch.setattr(colour_model, "encode_pixels", lambda pixels: counts.append(len(pixels)) or real(pixels))
    return counts


def test_words_find_the_photo_and_scores_are_cosines_best_first(index):
    hits = index.search("red", top=4)
    # Yellow is red and green in equal parts.
    assert names(hits)[:2] == ["red.png", "yellow.jpg"]
    assert [hit.score for hit in hits[:2]] == pytest.approx([1.0, 2**-0.5], abs=0.02)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert os.path.isabs(hits[0].path) and hits[0].to_dict() == {"path": hits[0].path, "score": hits[0].score}


def test_a_photo_finds_those_like_it_whether_it_is_in_the_folder_or_not(index, photos, tmp_path, paint):
    assert names(index.search(photos / "green.png", top=1)) == ["green.png"]
    assert names(index.search(paint(tmp_path / "other.png", "blue"), top=1)) == ["blue.png"]
    assert names(index.search(Image.new("RGB", (5, 5), "yellow"), top=1)) == ["yellow.jpg"]
    (red,) = index.search("red", top=1)
    assert names(index.like(red.id, top=1)) == ["yellow.jpg"]


@pytest.mark.journey
def test_vectors_are_added_and_taken_away(index, photos):
    assert names(index.search(photos / "red.png", plus="green", top=1)) == ["yellow.jpg"]
    assert names(index.search(photos / "below" / "yellow.jpg", minus="red", top=1)) == ["green.png"]
    with pytest.raises(UsageError, match="what is added and what is taken away are the same"):
        index.search("red", minus="red")


@pytest.mark.journey
def test_since_and_folder_leave_out_the_others(index, photos, monkeypatch):
    os.utime(photos / "red.png", (0, 1_700_000_000))
    assert index.refresh().unchanged == 4
    assert "red.png" not in names(index.search("red", since="2023-11-20"))
    assert "red.png" in names(index.search("red", since="2023-11-10"))
    assert names(index.search("red", folder="below")) == names(index.search("red", folder=photos / "below"))
    assert names(index.search("red", folder="below")) == ["yellow.jpg"]
    (photos.parent / "link").symlink_to(photos)
    assert names(index.search("red", folder=photos.parent / "link" / "below")) == ["yellow.jpg"]
    monkeypatch.chdir(photos.parent)
    assert names(index.search("red", folder="photos/below/")) == ["yellow.jpg"]
    for folder, reason in (("nowhere", "has no photo"), ("..", "is not in")):
        with pytest.raises(UsageError, match=reason):
            index.search("red", folder=folder)
    with pytest.raises(UsageError, match="write it as 2024-05-01"):
        index.search("red", since="May")


@pytest.mark.journey
def test_nothing_that_has_not_changed_is_encoded_again(index, encoded, photos, make_index):
    assert str(index.refresh()) == "4 photos, nothing new"
    assert str(make_index(photos).refresh()) == "4 photos, nothing new"
    os.utime(photos / "red.png")  # another time, the same bytes
    refreshed = index.refresh()
    assert (refreshed.unchanged, refreshed.changed, encoded) == (4, 0, [])


def test_new_changed_moved_and_deleted_photos_are_told_apart(index, encoded, photos, paint):
    paint(photos / "white.png", "white", side=16)
    paint(photos / "red.png", "blue", side=17)
    (photos / "elsewhere").mkdir()
    (photos / "green.png").rename(photos / "elsewhere" / "grass.png")
    (photos / "below" / "yellow.jpg").unlink()
    refreshed = index.refresh()
    counts = [getattr(refreshed, name) for name in ("added", "changed", "moved", "removed", "unchanged", "photos")]
    assert counts == [1, 1, 1, 1, 1, 4]
    assert sum(encoded) == 2
    assert names(index.search("green", top=1)) == ["grass.png"]
    assert set(names(index.search("blue", top=2))) == {"blue.png", "red.png"}
    assert open_index(index.folder, model=index.model).search("white", top=1)[0].path == str(photos / "white.png")


@pytest.mark.journey
def test_a_photo_that_changed_keeps_its_number(index, photos, paint):
    before = {hit.path: hit.id for hit in index.search("red")}
    paint(photos / "red.png", "green", side=20)
    index.refresh()
    assert {hit.path: hit.id for hit in index.search("red")} == before


@pytest.mark.journey
def test_what_cannot_be_read_is_set_aside_with_its_reason_and_tried_again_once_it_changes(index, photos, paint):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no image")
    (photos / "drawing.svg").write_text("<svg/>")
    os.mkfifo(photos / "pipe.png")
    (photos / "notes.txt").write_text("no photo")
    (photos / "link.png").symlink_to(photos / "red.png")
    refreshed = index.refresh()
    assert {item.key: item.reason for item in refreshed.skipped} == {
        "broken.jpg": "truncated image",
        "drawing.svg": "unsupported format",
        "link.png": "a link, which is not followed",
        "pipe.png": "not a regular file",
    }
    assert refreshed.others == {"txt": 1} and refreshed.photos == 4
    assert index.refresh().skipped == refreshed.skipped
    paint(photos / "broken.jpg", "white", side=16)
    assert "broken.jpg" not in {item.key for item in index.refresh().skipped}
    assert names(index.search("white", top=1)) == ["broken.jpg"]


@pytest.mark.journey
def test_an_unmounted_folder_does_not_empty_the_index(index, photos, tmp_path):
    shutil.move(photos, tmp_path / "elsewhere")
    photos.mkdir()
    refreshed = index.refresh()
    assert (refreshed.removed, refreshed.missing, refreshed.photos) == (0, 4, 4)
    assert names(index.search("red", top=1)) == ["red.png"]
    photos.rmdir()
    with pytest.raises(UsageError, match="There is no"):
        index.refresh()
    shutil.move(tmp_path / "elsewhere", photos)
    assert str(index.refresh()) == "4 photos, nothing new"
    shutil.rmtree(photos / "below")
    photos.joinpath("red.png").unlink()
    assert index.refresh().removed == 2


@pytest.mark.journey
def test_a_fifth_that_is_gone_at_once_stays_until_it_is_let_go(make_index, photos, paint):
    for number in range(40):
        paint(photos / "disk" / f"{number}.png", "white", side=4 + number)
    index = make_index(photos)
    index.refresh()
    shutil.rmtree(photos / "disk")
    assert (index.refresh().missing, len(index)) == (40, 44)
    assert (index.refresh(prune=True).removed, len(index)) == (40, 4)


@pytest.mark.journey
def test_originals_are_only_read(index, photos):
    def state():
        return {
            path: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns, path.stat().st_mode)
            for path in sorted(photos.rglob("*"))
            if path.is_file()
        }

    before = state()
    for path in before:
        path.chmod(0o444)
    before = state()
    index.refresh()
    index.search(photos / "red.png")
    index.duplicates()
    assert state() == before


@pytest.mark.journey
def test_thumbnails_have_no_gps_and_no_other_exif(make_index, photos):
    exif = Image.Exif()
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    exif[0x010F] = "camera maker"
    image = Image.new("RGB", (400, 300), "white")
    image.save(photos / "located.jpg", exif=exif)
    assert b"camera maker" in (photos / "located.jpg").read_bytes()
    index = make_index(photos)
    index.refresh()
    thumbnails = index.thumbnails([hit.id for hit in index.search("white", top=5)])
    assert len(thumbnails) == 5
    for data in thumbnails.values():
        opened = Image.open(io.BytesIO(data))
        assert max(opened.size) <= 192 and not opened.getexif() and b"camera" not in data and b"Exif" not in data
    assert index.thumbnails([999]) == {} and index.thumbnails([]) == {}


def test_the_day_a_photo_was_taken_is_its_cameras(make_index, photos):
    for name, tag in (("new", 0x9003), ("old", 0x9003), ("other", 0x0132)):
        exif = Image.Exif()
        (exif.get_ifd(0x8769) if tag == 0x9003 else exif)[tag] = f"{2024 if name == 'new' else 2009}:05:01 12:00:00"
        Image.new("RGB", (16, 16), "white").save(photos / f"{name}.jpg", exif=exif, quality=70 + len(name))
    index = make_index(photos)
    index.refresh()
    found = names(index.search("white", top=9, since="2024-01-01"))
    assert "new.jpg" in found and not {"old.jpg", "other.jpg"} & set(found)


@pytest.mark.journey
def test_photos_that_look_the_same_are_grouped(make_index, photos, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((320, 240), Image.Resampling.BICUBIC)
    image.save(photos / "a.png")
    image.save(photos / "b.jpg", quality=60)
    image.resize((160, 120)).save(photos / "c.jpg")
    index = make_index(photos)
    index.refresh()
    assert [sorted(Path(path).name for path in group) for group in index.duplicates()] == [["a.png", "b.jpg", "c.jpg"]]


@pytest.mark.journey
def test_vectors_of_another_model_are_refused_in_one_line(index, photos, colour_model, make_index):
    other = type(colour_model)()
    other.name, other.preprocess = "grey", other.preprocess.model_copy(update={"size": 4})
    for refused in (lambda: open_index(index.folder, model=other), lambda: make_index(photos, model=other)):
        with pytest.raises(RefusedInput, match="holds vectors of model 'colours', and 'grey' has other weights, "):
            refused()


def test_weights_preparation_and_nothing_else_make_another_model(predictor, colour_model):
    from seesay.model.cache import space_fingerprint

    other = type(colour_model)()
    assert space_fingerprint(other) == space_fingerprint(colour_model)
    other.clip.image_tower.extra = torch.nn.Linear(1, 1)
    assert space_fingerprint(other) != space_fingerprint(colour_model)
    with pytest.raises(UsageError, match="has no vector of a text"):
        seesay.PhotoIndex.create(Path("nowhere"), Path(), predictor("caption"))


@pytest.mark.journey
def test_a_second_writer_is_told_who_holds_the_index_and_readers_go_on(index, photos, paint):
    paint(photos / "white.png", "white", side=16)
    with (index.folder / ".lock").open("r+") as lock:
        lock.write("1234 on desk")
        lock.flush()
        assert take_lock(lock)
        with pytest.raises(StorageError, match=r"index .* is in use by process 1234 on desk; wait or stop it"):
            index.refresh()
        assert names(open_index(index.folder, model=index.model).search("red", top=1)) == ["red.png"]
    assert index.refresh().added == 1


def test_stray_files_in_an_index_are_left_alone(index, make_index, photos, tmp_path):
    for name in (".DS_Store", "copy (conflict).json", "photos.lance/.tmpabc", "scan.tmp"):
        (index.folder / name).write_text("x")
    assert str(make_index(photos).refresh()) == "4 photos, nothing new"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds other files and no index"):
        make_index(photos, name="full")


@pytest.mark.journey
def test_an_index_of_a_newer_or_older_seesay_is_refused_and_not_written(index):
    facts = json.loads((index.folder / "index.json").read_text())
    del facts["check"]
    for written, reason in (
        (sealed(facts | {"format": 3}), "is of format 3, newer than 2; update seesay"),
        (json.dumps(facts | {"format": 1}).encode(), "is of format 1, older than 2; remove it, and the next"),
    ):
        (index.folder / "index.json").write_bytes(written)
        before = {path: path.stat().st_mtime_ns for path in index.folder.rglob("*")}
        with pytest.raises(RefusedInput, match=reason):
            open_index(index.folder)
        assert {path: path.stat().st_mtime_ns for path in index.folder.rglob("*")} == before


@pytest.mark.journey
def test_a_snapshot_that_is_replaced_while_it_is_read_is_read_again_as_a_whole(index, photos, paint, monkeypatch):
    """As many rows before and after: paths of the one with vectors of the other would look right."""
    mapped, replaced = scan._mapped, []

    def replaced_before(path):
        if not replaced:
            replaced.append(path)
            paint(photos / "red.png", "white", side=20)
            index.refresh()
        return mapped(path)

    monkeypatch.setattr(scan, "_mapped", replaced_before)
    opened = open_index(index.folder, model=index.model)
    assert opened.version == index.version and len(replaced) == 1
    red = [hit.score for hit in opened.search("red", top=4) if hit.path.endswith("red.png")]
    assert red == [pytest.approx(1 / 3**0.5, abs=0.02)]


@pytest.mark.journey
def test_a_snapshot_that_is_away_for_a_moment_is_not_damaged(index, monkeypatch):
    mapped, away = scan._mapped, []

    def missing_once(path):
        if not away:
            away.append((index.folder / "scan").rename(index.folder / "elsewhere"))
            try:
                return mapped(path)
            finally:
                away[0].rename(index.folder / "scan").touch()
        return mapped(path)

    monkeypatch.setattr(scan, "_mapped", missing_once)
    assert names(open_index(index.folder, model=index.model).search("red", top=1)) == ["red.png"]


def test_two_who_make_an_index_at_once_make_one_of_the_first_ones_model(make_index, photos, colour_model, monkeypatch):
    other = type(colour_model)()
    for module in (photo_index, index_folder):
        monkeypatch.setattr(module, "fingerprint_of", lambda model: "second" if model is other else "first")
    real_writing = photo_index.writing

    def writing(folder):
        monkeypatch.setattr(photo_index, "writing", real_writing)
        make_index(photos)
        return real_writing(folder)

    monkeypatch.setattr(photo_index, "writing", writing)
    with pytest.raises(RefusedInput, match="holds vectors of model"):
        make_index(photos, model=other)
    assert make_index(photos).facts.fingerprint == "first"


@pytest.mark.journey
def test_a_snapshot_of_an_older_seesay_is_made_again(index):
    facts = json.loads((index.folder / "scan" / "scan.json").read_text())
    older = {name: value for name, value in facts.items() if name != "check"} | {"format": 2}
    (index.folder / "scan" / "scan.json").write_bytes(sealed(older))
    assert names(open_index(index.folder, model=index.model).search("red", top=1)) == ["red.png"]
    assert json.loads((index.folder / "scan" / "scan.json").read_text()) == facts


@pytest.mark.journey
@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("index.json", b"{", "index, and the next"),
        ("acknowledged.json", b'{"version": "x"}', "index, and the next"),
        ("scan/rows.arrow", b"", "scan, and the next"),
        ("scan/vectors.npy", b"\x93NUMPY", "scan, and the next"),
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(index, name, content, hint):
    (index.folder / name).write_bytes(content)
    with pytest.raises(RefusedInput, match=hint) as raised:
        open_index(index.folder, model=index.model)
    assert name.split("/")[0] in str(raised.value)


@pytest.mark.journey
def test_a_snapshot_that_is_gone_or_old_is_made_again_from_the_table(index, photos, paint):
    shutil.copytree(index.folder / "scan", index.folder.parent / "old")
    paint(photos / "white.png", "white", side=16)
    index.refresh()
    shutil.rmtree(index.folder / "scan")
    assert len(open_index(index.folder)) == 5
    shutil.rmtree(index.folder / "scan")
    shutil.copytree(index.folder.parent / "old", index.folder / "scan")
    assert len(open_index(index.folder)) == 5


@pytest.mark.journey
def test_an_index_is_its_users_alone(index):
    assert index.folder.stat().st_mode & 0o077 == 0


@pytest.mark.journey
def test_questions_without_sense_are_refused(index, photos, monkeypatch):
    monkeypatch.chdir(photos)
    for refused, reason in (
        (lambda: index.search(), "nothing to search for"),
        (lambda: index.search("red.png"), "is a photo on disk; search by it with like, in Python as a Path"),
        (lambda: index.search("red", top=0), "ask for 1 photo or more"),
        (lambda: index.like(12345), "is not in the index"),
        (lambda: open_index(photos), "is no index of seesay"),
        (lambda: open_index(photos / "nowhere"), "There is no"),
    ):
        with pytest.raises(UsageError, match=reason):
            refused()
    (photos / "broken.png").write_bytes(b"x")
    with pytest.raises(BrokenSample, match="not an image"):
        index.search(photos / "broken.png")


def test_an_empty_folder_has_an_index_that_says_so(make_index, tmp_path):
    (tmp_path / "empty").mkdir()
    index = make_index(tmp_path / "empty")
    assert index.refresh().photos == 0
    with pytest.raises(UsageError, match="holds no photo; there is none in"):
        index.search("red")


@pytest.mark.journey
def test_names_of_any_bytes_are_found_again(index, photos, paint):
    odd = [b"caf\xe9 \xff.png", b"new\nline.png", b"-rf.png", b"quote'\".png"]
    for number, name in enumerate(odd):
        paint(photos / os.fsdecode(name), "white", side=20 + number)
    assert index.refresh().added == 4
    assert {os.fsencode(name) for name in names(index.search("white", top=4))} == set(odd)
    assert str(index.refresh()) == "8 photos, nothing new"


@pytest.mark.journey
def test_equal_scores_come_in_the_order_of_the_index(make_index, tmp_path, paint):
    root = tmp_path / "same"
    for number in range(12):
        paint(root / f"{number:02}.png", "red", side=8)
    index = make_index(root)
    index.refresh()
    assert names(index.search("red", top=5)) == [f"{number:02}.png" for number in range(5)]

import os
from collections import Counter
from pathlib import Path

import pytest

from seesay.base.errors import RefusedInput, UsageError
from seesay.tasks.classify import classify_photos, find_photos, in_words, photos_and_others


@pytest.fixture
def album(tmp_path: Path, paint) -> Path:
    for name in ("b.jpg", "a.PNG", "deep/er/c.webp", "deep/d.jpeg", "e.gif", ".hidden.jpg", ".thumbs/f.jpg"):
        paint(tmp_path / name, "red")
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "deep" / "drawing.psd").write_bytes(b"8BPS, no photo we read")
    return tmp_path


def names(found: list[Path], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in found]


def test_a_folder_gives_its_photos_at_any_depth_sorted_without_hidden_ones(album: Path):
    assert names(find_photos([album]), album) == [
        "a.PNG",
        "b.jpg",
        "deep/d.jpeg",
        "deep/drawing.psd",
        "deep/er/c.webp",
        "e.gif",
    ]


def test_a_photo_that_is_named_twice_is_found_once(album: Path, monkeypatch):
    monkeypatch.chdir(album)
    assert find_photos(["b.jpg", "./b.jpg", album / "b.jpg", "*.jpg"]) == [Path("b.jpg")]


def test_a_pattern_gives_files_and_what_is_in_folders(album: Path):
    assert names(find_photos([f"{album}/*.jpg"]), album) == ["b.jpg"]
    assert names(find_photos([f"{album}/d*"]), album) == ["deep/d.jpeg", "deep/drawing.psd", "deep/er/c.webp"]
    assert names(find_photos([f"{album}/**/*.webp"]), album) == ["deep/er/c.webp"]


def test_a_file_that_looks_like_a_pattern_is_taken_by_its_name(tmp_path: Path, paint):
    photo = paint(tmp_path / "photo[1].jpg", "red")
    assert find_photos([photo]) == [photo]


def test_the_home_folder_may_be_written_as_a_tilde(album: Path, monkeypatch):
    monkeypatch.setenv("HOME", str(album))
    assert names(find_photos(["~/b.*"]), album) == ["b.jpg"]


def test_other_files_are_counted_by_their_suffix_each_once(album: Path):
    (album / "README").touch()
    (album / "deep" / "film.mp4").touch()
    photos, others = photos_and_others([album, album / "deep"])
    assert names(photos, album) == names(find_photos([album]), album)
    assert others == {"txt": 1, "no suffix": 1, "mp4": 1} and in_words(others) == "1 x mp4, 1 x no suffix, 1 x txt"
    assert in_words(Counter("aabcdefg")) == "2 x a, 1 x b, 1 x c, 1 x d, 3 others"


def test_a_pipe_with_a_photos_name_is_not_waited_for(album: Path):
    os.mkfifo(album / "stuck.jpg")
    assert "stuck.jpg" not in names(find_photos([album]), album)


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("{}/nowhere", "has no 'nowhere'"),
        ("{}/*.tiff", "matches nothing"),
        ("{}/notes.txt", "holds no photo, but 1 x txt; photos end in arw, avif, bmp, "),
        ("{}/bare", "holds no photo, but no file at all"),
        ("", "PHOTOS is an empty word"),
    ],
)
def test_a_place_without_photos_is_named_with_what_is_there(album: Path, place: str, complaint: str):
    (album / "bare").mkdir()
    with pytest.raises(UsageError, match=complaint):
        find_photos([place.format(album)])


def test_one_empty_place_among_several_is_not_passed_over(album: Path):
    with pytest.raises(UsageError, match=r"notes\.txt"):
        find_photos([album / "b.jpg", album / "notes.txt"])


def test_every_photo_gets_its_labels_best_first(colour_model, tmp_path: Path, paint):
    photos = [paint(tmp_path / f"{colour}.png", colour) for colour in ("yellow", "blue")]
    results, skipped = classify_photos(colour_model, photos, ["red", "blue", "green"], top=2)
    assert not skipped
    assert [path for path, _ in results] == photos
    # Yellow is as near to red as to green: cosine 1/sqrt(2) each, and 0 to blue.
    yellow, blue = (ranking for _, ranking in results)
    assert set(yellow.labels) == {"red", "green"}
    assert yellow.probabilities[0] == pytest.approx(yellow.probabilities[1])
    assert sum(yellow.probabilities) < 1
    assert blue.labels[0] == "blue"
    assert len(blue.labels) == 2


def test_labels_go_into_the_models_templates_unless_others_are_given(colour_model, tmp_path: Path, paint):
    photos = [paint(tmp_path / "a.png", "red")]
    classify_photos(colour_model, photos, ["red", "blue", "red"])
    classify_photos(colour_model, photos, ["red", "blue"], templates="none")
    assert colour_model.texts_seen == ["a photo of something red.", "a photo of something blue.", "red", "blue"]


def test_broken_photos_are_left_out_by_name_and_reason(colour_model, tmp_path: Path, paint):
    good = paint(tmp_path / "good.png", "red")
    (tmp_path / "page.jpg").write_bytes(b"<html>not found</html>")
    (tmp_path / "empty.jpg").touch()
    photos = [tmp_path / "empty.jpg", good, tmp_path / "gone.jpg", tmp_path / "page.jpg"]
    counted = []
    results, skipped = classify_photos(colour_model, photos, ["red", "blue"], progress=counted.append)
    assert [(path, ranking.labels[0]) for path, ranking in results] == [(good, "red")]
    assert [(Path(item.key).name, item.reason) for item in skipped] == [
        ("empty.jpg", "empty file"),
        ("gone.jpg", "missing file"),
        ("page.jpg", "not an image"),
    ]
    assert sum(counted) == 4


def test_only_broken_photos_are_an_error_with_their_reasons(colour_model, tmp_path: Path):
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(RefusedInput, match=r"none of 2 photos could be read.*1 x empty file"):
        classify_photos(colour_model, [tmp_path / "empty.jpg", tmp_path / "gone.jpg"], ["red", "blue"])


def test_one_label_is_refused(colour_model, tmp_path: Path):
    with pytest.raises(UsageError, match="always gets probability 1"):
        classify_photos(colour_model, [tmp_path / "a.jpg"], ["red"])

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from seesay.base.errors import Interrupted, RefusedInput, UsageError
from seesay.model.encode import BATCH_SIZE
from seesay.tasks.answer_files import FORMATS
from seesay.tasks.classify_folder import Question, answer_all, classify_folder, prepare

COUNT = 2 * BATCH_SIZE + 12
LABELS = ("red", "green", "blue")
ENDINGS = [format.ending for format in FORMATS.values()]


@pytest.fixture
def album(tmp_path: Path, paint) -> Path:
    """Red, green and blue in turn, two of them broken."""
    for number in range(COUNT):
        paint(tmp_path / "album" / f"{number:03}.png", ("red", "green", "blue")[number % 3])
    (tmp_path / "album" / "070.png").write_bytes(b"<html>")
    (tmp_path / "album" / "130.png").write_bytes(b"")
    return tmp_path / "album"


def stop_after(model, blocks: int, error: type[BaseException]) -> list[int]:
    """Let the model fail after so many blocks; the sizes of those it is given."""
    encode, sizes = type(model).encode_pixels, []

    def encode_pixels(pixels_B3SS):
        sizes.append(len(pixels_B3SS))
        if len(sizes) > blocks:
            raise error
        return encode(model, pixels_B3SS)

    model.encode_pixels = encode_pixels
    return sizes


def test_files_that_are_no_photos_are_told(colour_model, album: Path, tmp_path: Path):
    for name in ("a.txt", "b.txt", "film.MP4"):
        (album / name).touch()
    told = []
    prepared = prepare([album], Question(labels=LABELS))
    answer_all(colour_model, prepared, format=FORMATS["csv"], out=None, write=list, log=told.append)
    assert told[0] == "left out, as no photos: 2 x txt, 1 x mp4"
    done = classify_folder(colour_model, album, LABELS, out=tmp_path / "out.csv")
    assert done.others == {"txt": 2, "mp4": 1} and "3 other files left out" in repr(done)


def test_every_photo_gets_a_line_and_broken_ones_a_reason(colour_model, album: Path, tmp_path: Path):
    out = tmp_path / "out.csv"
    done = classify_folder(colour_model, album, LABELS, top=2, out=out)
    rows = list(csv.DictReader(out.read_text("utf-8-sig").splitlines()))
    assert (done.photos, done.labels, done.resumed, len(rows)) == (COUNT, 3, 0, COUNT - 2)
    assert [(Path(item.key).name, item.reason) for item in done.skipped] == [
        ("070.png", "not an image"),
        ("130.png", "empty file"),
    ]
    assert [(Path(row["path"]).name, row["label_1"]) for row in rows[:3]] == [
        ("000.png", "red"),
        ("001.png", "green"),
        ("002.png", "blue"),
    ]
    assert not (tmp_path / "out.csv.part").exists()
    answers = list(done.rows())
    assert len(answers) == COUNT - 2 and answers[1].keys() == rows[1].keys()
    assert (answers[1]["label_1"], answers[1]["probability_1"]) == ("green", float(rows[1]["probability_1"]))


@pytest.mark.journey
@pytest.mark.parametrize("suffix", ENDINGS)
@pytest.mark.parametrize("blocks", [1, 2])
def test_a_stopped_run_goes_on_and_ends_in_the_same_file(
    colour_model, album: Path, tmp_path: Path, suffix: str, blocks: int
):
    whole, stopped = tmp_path / f"whole{suffix}", tmp_path / f"stopped{suffix}"
    unbroken = classify_folder(colour_model, album, LABELS, top=2, out=whole)
    stop_after(colour_model, blocks, KeyboardInterrupt)
    with pytest.raises(Interrupted, match=rf"{blocks * BATCH_SIZE} of {COUNT} photos are done .* goes on"):
        classify_folder(colour_model, album, LABELS, top=2, out=stopped)
    assert not stopped.exists()
    sizes = stop_after(colour_model, 9, KeyboardInterrupt)
    done = classify_folder(colour_model, album, LABELS, top=2, out=stopped)
    assert done.resumed == blocks * BATCH_SIZE
    assert sum(sizes) == COUNT - done.resumed - (1 if blocks == 2 else 2)
    assert done.skipped == unbroken.skipped
    assert stopped.read_bytes() == whole.read_bytes()


def test_a_run_that_was_killed_after_its_last_photo_is_not_done_again(
    colour_model, album: Path, tmp_path: Path, monkeypatch
):
    out = tmp_path / "out.csv"
    with monkeypatch.context() as patch:
        patch.setattr("seesay.tasks.classify_folder.publish_chunks", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            classify_folder(colour_model, album, LABELS, top=2, out=out)
    sizes = stop_after(colour_model, 0, KeyboardInterrupt)
    assert classify_folder(colour_model, album, LABELS, top=2, out=out).resumed == COUNT
    assert sizes == []
    assert len(out.read_text("utf-8-sig").splitlines()) == COUNT - 1


def test_changed_photos_labels_or_rules_are_refused_until_forced(colour_model, album: Path, tmp_path: Path, paint):
    out = tmp_path / "out.csv"
    stop_after(colour_model, 1, KeyboardInterrupt)
    with pytest.raises(Interrupted):
        classify_folder(colour_model, album, LABELS, top=2, out=out)
    with pytest.raises(
        UsageError, match=r'half of another command: labels: .*"blue"\] -> \["red", "green"\]; run that'
    ):
        classify_folder(colour_model, album, LABELS[:2], top=2, out=out)
    paint(album / "999.png", "red")
    with pytest.raises(UsageError, match=f"photos: {COUNT} -> {COUNT + 1}; paths and sizes: "):
        classify_folder(colour_model, album, LABELS, top=2, out=out)
    del colour_model.encode_pixels
    done = classify_folder(colour_model, album, LABELS, top=2, out=out, force=True)
    assert (done.photos, done.resumed) == (COUNT + 1, 0)


def test_the_old_result_stays_until_the_new_one_is_whole(colour_model, album: Path, tmp_path: Path):
    out = tmp_path / "out.csv"
    out.write_text("old")
    stop_after(colour_model, 1, KeyboardInterrupt)
    with pytest.raises(Interrupted):
        classify_folder(colour_model, album, LABELS, top=2, out=out)
    assert out.read_text("utf-8-sig") == "old"


def test_photos_of_nothing_known_are_none_of_these(colour_model, album: Path, tmp_path: Path, paint):
    for number in range(60):
        paint(
            tmp_path / "known" / ("red" if number % 2 else "green") / f"{number}.png", "red" if number % 2 else "green"
        )
    done = classify_folder(
        colour_model, album, calibrate=tmp_path / "known", none_of_these=0.05, top=1, out=tmp_path / "out.json"
    )
    rows = json.loads((tmp_path / "out.json").read_text("utf-8-sig"))
    # Without labels the classes of the known photos are asked for; blue is neither.
    assert [row["answer"] for row in rows[:3]] == ["red", "green", "none of these"]
    assert (done.labels, done.facts["known"]) == (2, 60)


def test_only_broken_photos_leave_neither_result_nor_half_of_one(colour_model, tmp_path: Path):
    (tmp_path / "album").mkdir()
    (tmp_path / "album" / "a.png").write_bytes(b"broken")
    with pytest.raises(RefusedInput, match="none of 1 photos could be read"):
        classify_folder(colour_model, tmp_path / "album", LABELS, top=2, out=tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["album"]


def test_the_result_shows_its_counts_in_one_line(colour_model, album: Path, tmp_path: Path):
    out = tmp_path / "out.csv"
    done = classify_folder(colour_model, album, LABELS, out=out)
    counts = f"{COUNT - 2} photos, 3 labels -> {out}, 2 skipped (1 x not an image, 1 x empty file)"
    assert repr(done) == f"<Classified {counts}>"


def test_arguments_that_cannot_be_meant_are_refused(colour_model, album: Path, tmp_path: Path):
    with pytest.raises(TypeError, match="list of strings"):
        classify_folder(colour_model, album, "red", out=tmp_path / "out.csv")
    with pytest.raises(UsageError, match="top is 0"):
        classify_folder(colour_model, album, LABELS, top=0, out=tmp_path / "out.csv")
    with pytest.raises(UsageError, match="threshold names 'cat', which is no label"):
        classify_folder(
            colour_model, album, LABELS, multi_label=True, thresholds={"cat": 0.5}, out=tmp_path / "out.csv"
        )


def test_ctrl_c_while_thumbnails_are_made_loses_no_photo(colour_model, album: Path, tmp_path: Path, monkeypatch):
    def stopped(results):
        raise KeyboardInterrupt
        yield ""

    out = tmp_path / "out.html"
    with monkeypatch.context() as patch:
        patch.setitem(FORMATS, "html", replace(FORMATS["html"], render=stopped))
        with pytest.raises(Interrupted, match=f"{COUNT} of {COUNT} photos are done .* goes on"):
            classify_folder(colour_model, album, LABELS, top=2, out=out)
    assert not out.exists()
    done = classify_folder(colour_model, album, LABELS, top=2, out=out)
    assert done.resumed == COUNT
    assert out.read_text().count("<article") == COUNT


@pytest.mark.parametrize("name", ["out.xlsx", "out.md", "out", "out.csv.gz", "out.pdf"])
def test_another_ending_is_refused_before_the_work(colour_model, album: Path, tmp_path: Path, name: str):
    with pytest.raises(UsageError, match=rf"out .*{name} should end in \.csv, \.tsv, .* which says how it is written"):
        classify_folder(colour_model, album, LABELS, top=2, out=tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["album"]

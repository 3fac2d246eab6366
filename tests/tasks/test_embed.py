"""`seesay.embed`: vectors in a file, each beside what it is of."""

import json

import numpy as np
import pyarrow.parquet as parquet
import pytest

import seesay
from seesay.base.errors import RefusedInput, UsageError


@pytest.fixture
def photos(tmp_path, paint):
    for name in ("red", "green", "blue"):
        paint(tmp_path / "photos" / f"{name}.png", name)
    return tmp_path / "photos"


def test_images_are_written_in_the_order_of_their_paths(photos, tmp_path, colour_model):
    done = seesay.embed(photos, out=tmp_path / "a.npy", model=colour_model)
    paths = json.loads((tmp_path / "a.npy.paths.json").read_text())
    assert paths == [str(photos / f"{name}.png") for name in ("blue", "green", "red")]
    vectors = np.load(tmp_path / "a.npy")
    assert vectors.dtype == np.float32 and vectors == pytest.approx(np.eye(3)[::-1], abs=1e-6)
    assert (done.rows, done.width, done.skipped) == (3, 3, ())
    seesay.embed(photos, out=tmp_path / "a.parquet", model=colour_model)
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table.column_names == ["path", "vector"] and table["path"].to_pylist() == paths
    assert np.array(table["vector"].to_pylist()) == pytest.approx(vectors)


def test_a_broken_image_has_no_row_and_is_named(photos, tmp_path, colour_model):
    (photos / "broken.png").write_bytes(b"no image")
    done = seesay.embed(photos, out=tmp_path / "a.parquet", model=colour_model)
    assert done.rows == 3 and [(item.key, item.reason) for item in done.skipped] == [
        (str(photos / "broken.png"), "not an image")
    ]
    assert str(photos / "broken.png") not in parquet.read_table(tmp_path / "a.parquet")["path"].to_pylist()
    with pytest.raises(RefusedInput, match="could be read"):
        seesay.embed(photos / "broken.png", out=tmp_path / "b.npy", model=colour_model)


def test_texts_are_lines_of_a_file_or_captions_of_pairs(tmp_path, colour_model, coloured_pairs, capsys):
    (tmp_path / "lines.txt").write_text("red\n\n  something green \n", encoding="utf-8")
    with pytest.raises(UsageError, match="text embeds them"):
        seesay.embed(tmp_path / "lines.txt", out=tmp_path / "t.parquet", model=colour_model)
    seesay.embed(tmp_path / "lines.txt", text=True, out=tmp_path / "t.parquet", model=colour_model)
    assert "1 blank lines of" in capsys.readouterr().err
    table = parquet.read_table(tmp_path / "t.parquet")
    assert table["text"].to_pylist() == ["red", "something green"]
    assert np.array(table["vector"].to_pylist()) == pytest.approx(np.eye(3)[:2])
    seesay.embed(coloured_pairs(4), text=True, out=tmp_path / "c.npy", model=colour_model)
    assert len(json.loads((tmp_path / "c.npy.texts.json").read_text())) == len(np.load(tmp_path / "c.npy")) == 8


def test_shards_are_read_by_their_keys(tmp_path, colour_model, coloured_pairs, write_tar):
    pairs = coloured_pairs(3)
    members = {path.name: path.read_bytes() for path in sorted(pairs.iterdir())}
    tar = write_tar(tmp_path / "shards" / "0.tar", members)
    done = seesay.embed(tar, out=tmp_path / "s.npy", model=colour_model)
    assert (
        json.loads((tmp_path / "s.npy.paths.json").read_text()) == ["0.tar/000", "0.tar/001", "0.tar/002"]
        and done.rows == 3
    )
    seesay.embed(pairs, out=tmp_path / "p.npy", model=colour_model)
    assert np.array_equal(np.load(tmp_path / "s.npy"), np.load(tmp_path / "p.npy"))


@pytest.mark.parametrize("out", ["a.csv", "a"])
def test_another_ending_is_refused(photos, tmp_path, colour_model, out):
    with pytest.raises(UsageError, match=r"should end in .npy or .parquet"):
        seesay.embed(photos, out=tmp_path / out, model=colour_model)


def test_a_source_that_is_not_there_is_named(tmp_path, colour_model):
    with pytest.raises(UsageError, match="There is no"):
        seesay.embed(tmp_path / "nowhere", out=tmp_path / "a.npy", model=colour_model)


def test_texts_that_lose_their_end_are_counted(tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("red\n" + " ".join(["red"] * 200) + "\n")
    with pytest.warns(UserWarning, match=r"^1 text is cut at the \d+ tokens the model reads: 'red red"):
        seesay.embed(texts, out=tmp_path / "rows.npy", text=True)

"""`seesay.embed`: vectors in a file, each beside what it is of."""

import json
import subprocess
import sys

import numpy as np
import pyarrow.parquet as parquet
import pytest

import seesay
from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.tasks import embed as embed_module


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
    with pytest.raises(UsageError, match=r"should end in .npy or .parquet or .lance"):
        seesay.embed(photos, out=tmp_path / out, model=colour_model)


def test_a_source_that_is_not_there_is_named(tmp_path, colour_model):
    with pytest.raises(UsageError, match="There is no"):
        seesay.embed(tmp_path / "nowhere", out=tmp_path / "a.npy", model=colour_model)


def test_texts_that_lose_their_end_are_counted(tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("red\n" + " ".join(["red"] * 200) + "\n")
    with pytest.warns(UserWarning, match=r"^1 text is cut at the \d+ tokens the model reads: 'red red"):
        seesay.embed(texts, out=tmp_path / "rows.npy", text=True)


@pytest.mark.journey
def test_a_table_of_lancedb_has_the_rows_of_parquet_and_is_replaced_whole(photos, tmp_path, colour_model, monkeypatch):
    lancedb = pytest.importorskip("lancedb", reason="LanceDB, of the extra `search`, is not installed")
    seesay.embed(photos, out=tmp_path / "a.parquet", model=colour_model)
    for _ in range(2):
        done = seesay.embed(photos, out=tmp_path / "photos.lance", model=colour_model)
        table = lancedb.connect(str(tmp_path)).open_table("photos")
        assert table.to_arrow().equals(parquet.read_table(tmp_path / "a.parquet")) and (done.rows, done.width) == (3, 3)
    found = table.search([0.0, 0.0, 1.0]).limit(1).to_list()
    assert found[0]["path"] == str(photos / "blue.png")

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seesay.base.publish.sync_tree", fails)
    with pytest.raises(StorageError):
        seesay.embed(photos / "red.png", out=tmp_path / "photos.lance", model=colour_model)
    assert len(lancedb.connect(str(tmp_path)).open_table("photos").to_arrow()) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "photos", "photos.lance"]


def test_many_blocks_of_a_table_are_one_version_in_their_order(tmp_path, monkeypatch):
    lancedb = pytest.importorskip("lancedb", reason="LanceDB, of the extra `search`, is not installed")
    monkeypatch.setattr(embed_module, "GROUP", 5)
    random = np.random.default_rng(0).standard_normal((17, 4)).astype(np.float32)
    blocks = [([str(at)], random[at : at + 1]) for at in range(17)]
    assert embed_module._write_lance(tmp_path / "t.lance", "text", iter(blocks)) == (17, 4)
    rows = lancedb.connect(str(tmp_path)).open_table("t").to_arrow()
    assert rows["text"].to_pylist() == [str(at) for at in range(17)]
    assert np.array_equal(np.array(rows["vector"].to_pylist(), np.float32), random)


def test_a_folder_that_is_no_table_stays_as_it_is(photos, tmp_path, colour_model):
    (tmp_path / "mine.lance").mkdir()
    (tmp_path / "mine.lance" / "letters.txt").write_text("dear")
    with pytest.raises(UsageError, match="is a folder and no table"):
        seesay.embed(photos, out=tmp_path / "mine.lance", model=colour_model)
    assert (tmp_path / "mine.lance" / "letters.txt").read_text() == "dear"


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["daft", "ray"])
def test_daft_gives_the_rows_of_torch_in_their_order_and_names_what_is_broken(photos, tmp_path, engine):
    pytest.importorskip(engine, reason="Daft and Ray are not installed")
    (photos / "broken.png").write_bytes(b"no image")
    (tmp_path / "words.txt").write_text("a dog\na cat\n")

    def written(*options):
        done = subprocess.run(
            [sys.executable, "-m", "seesay", "embed", "--max-bad", "1", *map(str, options)],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done

    written(photos, "--out", "a.npy")
    spread = written(photos, "--out", "b.npy", "--engine", engine)
    assert np.load(tmp_path / "b.npy") == pytest.approx(np.load(tmp_path / "a.npy"), abs=1e-5)
    assert (tmp_path / "b.npy.paths.json").read_text() == (tmp_path / "a.npy.paths.json").read_text()
    assert f"skipped {photos / 'broken.png'}: not an image" in spread.stderr
    written("words.txt", "--text", "--out", "a.npy")
    written("words.txt", "--text", "--out", "b.npy", "--engine", engine)
    assert np.load(tmp_path / "b.npy") == pytest.approx(np.load(tmp_path / "a.npy"), abs=1e-5)


@pytest.mark.parametrize("engine", ["daft", "ray"])
def test_the_model_that_is_only_asked_what_it_is_keeps_its_weights_as_asked(photos, tmp_path, engine, monkeypatch):
    asked = []
    monkeypatch.setattr(embed_module, "_check", lambda model, names, *, is_text: asked.append(model.weights_dtype))
    rows = ([path.name for path in sorted(photos.rglob("*.png"))], np.eye(3, dtype=np.float32))
    monkeypatch.setattr("seesay.tasks.embed_on_daft.spread_blocks", lambda *_, **named: iter([rows]))
    seesay.embed(photos, out=tmp_path / "a.parquet", engine=engine, weights_dtype="float16")
    assert asked == ["float16"]


def test_a_model_in_memory_is_not_spread(photos, tmp_path, colour_model):
    with pytest.raises(UsageError, match="give its name or folder"):
        seesay.embed(photos, out=tmp_path / "a.npy", model=colour_model, engine="daft")

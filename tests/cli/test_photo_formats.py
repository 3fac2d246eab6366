"""Photos of other formats at every door: read, or counted with a reason."""

import csv

import pytest
from PIL import Image

from seesay.cli.main import main
from seesay.data.decode import open_image
from seesay.data.evalsets import open_evalset
from seesay.data.pairs import open_pairs

READ = ("a.jpg", "b.tif", "c.BMP", "d.png", "e.avif", "f.jp2", "g.jfif", "h.webp")
FORMATS = {"jp2": "JPEG2000", "jfif": "JPEG", "tif": "TIFF", "jpg": "JPEG"}
NOT_READ = {"i.psd": b"8BPS\0\1", "j.jxl": b"\xff\x0a\0", "k.svg": b"<svg xmlns='x'/>", "l.tif": b""}


def fill(folder, colour="red"):
    folder.mkdir(parents=True)
    for name in READ:
        suffix = name.partition(".")[2].lower()
        Image.new("RGB", (32, 32), colour).save(folder / name, FORMATS.get(suffix, suffix.upper()))
    for name, data in NOT_READ.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.journey
def test_classify_reads_them_and_counts_and_lists_the_others(tmp_path, capsys):
    folder, out, bad = fill(tmp_path / "mixed"), tmp_path / "labels.csv", tmp_path / "bad.csv"
    assert main(["classify", str(folder), "red", "blue", "-o", str(out), "--bad", str(bad)]) == 3
    with open(out, encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(READ)
    with open(bad, encoding="utf-8-sig", newline="") as file:
        rows = {row["path"].rpartition("/")[2]: (row["reason"], row["detail"]) for row in csv.DictReader(file)}
    assert rows.keys() == NOT_READ.keys()
    assert rows["l.tif"][0] == "empty file" and "Photoshop; convert it to JPEG" in rows["i.psd"][1]
    assert "skipped 4 of 12 photos: 3 x unsupported format, 1 x empty file" in capsys.readouterr().err
    assert main(["classify", str(folder), "red", "blue", "-o", str(tmp_path / "b.csv"), "--max-bad", "0.4"]) == 0


def test_labelled_sets_have_them_and_count_the_others(tmp_path):
    for colour in ("red", "blue"):
        fill(tmp_path / "set" / colour, colour)
    found = open_evalset(tmp_path / "set")
    assert len(found) == 2 * len(READ)
    reasons = sorted(problem.reason for problem in found.problems)
    assert reasons == ["empty file"] * 2 + ["unsupported format"] * 6


def test_pairs_of_a_folder_a_table_and_a_tar_have_them(tmp_path, write_tar):
    folder = fill(tmp_path / "pairs")
    members = []
    for name in (*READ, *NOT_READ):
        (folder / name).with_suffix(".txt").write_text("a red square")
        members += [(name, (folder / name).read_bytes()), (f"{name[0]}.txt", b"a red square")]
    write_tar(tmp_path / "x.tar", members)
    (folder / "pairs.csv").write_text("image,caption\n" + "".join(f"{name},a red square\n" for name in READ))
    for source in (folder, tmp_path / "x.tar", folder / "pairs.csv"):
        found = open_pairs([source])
        assert len(found) == len(READ)
        assert all(open_image(found[index].image).shape == (32, 32, 3) for index in range(len(READ)))
        assert len(found.problems) == (0 if source.suffix == ".csv" else len(NOT_READ))

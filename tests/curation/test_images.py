"""Filters, duplicates and shards on small images with known sides, bytes and looks."""

import hashlib
import io
import json
import random
import tarfile

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw
from pyarrow import parquet

import seesay
from seesay.base import publish
from seesay.curation.filter import caption_fault, image_fault
from seesay.curation.images import rewritten
from seesay.curation.settings import FilterSettings, ImageSettings
from seesay.data.decode import decode

STAGES = ["filter", "dedup", "shards"]
EASY = ["filter.least_side=1", "filter.language=", "filter.least_words=1", "filter.least_characters=1"]


def drawn(seed, size=(64, 48)):
    """An image of six boxes that looks like no other."""
    chosen = random.Random(seed)
    image = Image.new("RGB", size, tuple(chosen.randrange(256) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        corner = (chosen.randrange(size[0]), chosen.randrange(size[1]))
        other = (corner[0] + chosen.randrange(5, 40), corner[1] + chosen.randrange(5, 30))
        draw.rectangle([corner, other], fill=tuple(chosen.randrange(256) for _ in range(3)))
    return image


def encoded(image, kind="png", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def pool(tmp_path):
    """A function that writes images as bytes with captions, and gives the table."""

    def write(images, name="pool"):
        folder = tmp_path / name
        folder.mkdir()
        for file, (data, _) in images.items():
            (folder / file).write_bytes(data)
        columns = {"path": list(images), "caption": [caption for _, caption in images.values()]}
        parquet.write_table(pa.table(columns), folder / "pool.parquet")
        return folder / "pool.parquet"

    return write


def members(folder):
    """Name -> bytes of all that the shards of a set hold."""
    found = {}
    for path in sorted((folder / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None and member.mtime == 0 and member.uid == 0
                found[member.name] = file.read()
    return found


def table_of(folder):
    return parquet.read_table(folder / "pairs.parquet").to_pylist()


@pytest.mark.parametrize(
    ("caption", "language", "fault"),
    [
        ("a dog asleep", "en", None),
        ("ein Hund schläft", "de", "language is not en"),
        ("a dogdog", "en", "too few words"),
        ("a b c", "en", "too few characters"),
    ],
)
def test_captions_are_held_to_the_basic_rules(caption, language, fault):
    assert caption_fault({"caption": caption}, language, FilterSettings()) == fault


@pytest.mark.parametrize(
    ("sides", "fault"),
    [
        ((200, 600), None),
        ((199, 300), "image too small"),
        ((200, 601), "image too long"),
        ((601, 200), "image too long"),
    ],
)
def test_images_are_held_to_the_basic_rules(sides, fault):
    assert image_fault(*sides, FilterSettings()) == fault


def test_a_filter_counts_each_pair_by_its_first_fault(tmp_path, pool, capsys):
    blocked = encoded(drawn(5, (210, 210)))
    table = pool(
        {
            "good.png": (encoded(drawn(1, (210, 220))), "a dog sleeps on the old sofa"),
            "small.png": (encoded(drawn(2, (64, 64))), "a dog sleeps on the old sofa"),
            "broken.png": (b"no image", "a dog sleeps on the old sofa"),
            "german.png": (encoded(drawn(3, (210, 210))), "ein Hund schläft auf dem alten Sofa"),
            "word.png": (encoded(drawn(4, (210, 210))), "a rude dog sleeps on the old sofa"),
            "hash.png": (blocked, "the cat sits on the old sofa"),
        }
    )
    (tmp_path / "words.txt").write_text("Rude\ne.g.\n")
    (tmp_path / "hashes.txt").write_text(f"# as sha256sum\n{hashlib.sha256(blocked).hexdigest().upper()}  hash.png\n")
    lists = [f"filter.blocked_words={tmp_path}/words.txt", f"filter.blocked_hashes={tmp_path}/hashes.txt"]
    result = seesay.curate(table, out=tmp_path / "set", stages=["filter"], overrides=lists)
    assert result.counts[1].left_out == {
        "image too small": 1, "not an image": 1, "language is not en": 1, "blocked word": 1, "blocked image": 1,
    }  # fmt: skip
    assert [(row["path"], row["language"], row["width"], row["height"]) for row in table_of(tmp_path / "set")] == [
        ("good.png", "en", 210, 220)
    ]
    assert "1 of 2 can stand in no caption" in capsys.readouterr().err
    # Why a row was left out stays in the table of the stage.
    whole = parquet.read_table(tmp_path / "set" / "stages" / "1-filter" / "00000.parquet").to_pylist()
    assert {row["path"]: row["left_out"] for row in whole}["hash.png"] == "blocked image"


def test_a_host_is_blocked_with_all_below_it(tmp_path, url_table):
    urls = [
        "http://bad.example/a",
        "http://x.BAD.example/a",
        "http://notbad.example/a",
        "http://good.example/bad.example",
    ]
    parquet.write_table(pa.table({"url": urls, "caption": ["a good dog"] * 4}), tmp_path / "a.parquet")
    (tmp_path / "hosts.txt").write_text("bad.example\n")
    named = [f"filter.blocked_hosts={tmp_path}/hosts.txt", "filter.language="]
    seesay.curate(tmp_path / "a.parquet", out=tmp_path / "set", stages=["filter"], overrides=named)
    assert {row["url"] for row in table_of(tmp_path / "set")} == set(urls[2:])


@pytest.mark.journey
def test_the_best_share_by_a_models_score_stays(tmp_path, pool):
    """The model in the box, and its own cosines of the same images and captions."""
    images = {
        f"{n}.png": (encoded(drawn(n)), caption) for n, caption in enumerate(["a red box", "a dog", "x", "a blue box"])
    }
    table = pool(images)
    result = seesay.curate(
        table, out=tmp_path / "set", stages=["filter"], clip_score="box", overrides=[*EASY, "filter.share=0.5"]
    )
    assert len(result) == 2 and result.counts[1].left_out == {"low score by the model": 2}
    model = seesay.load("box")
    files = [table.parent / name for name in images]
    cosines = (model.encode_images(files) * model.encode_texts([caption for _, caption in images.values()])).sum(1)
    expected = sorted(zip(cosines.tolist(), images, strict=True), reverse=True)[:2]
    found = sorted(((row["clip_score"], row["path"]) for row in table_of(tmp_path / "set")), reverse=True)
    assert [path for _, path in found] == [path for _, path in expected]
    assert np.allclose([score for score, _ in found], [score for score, _ in expected], atol=1e-5)
    above = [*EASY, f"filter.least_score={expected[0][0] - 1e-4}"]
    assert len(seesay.curate(table, out=tmp_path / "set", stages=["filter"], clip_score="box", overrides=above)) == 1


def test_copies_are_left_out_and_the_table_says_of_what(tmp_path, pool):
    image = drawn(1)
    table = pool(
        {
            "a.png": (encoded(image), "one"),
            "b.png": (encoded(image), "two"),
            "c.bmp": (encoded(image, "bmp"), "three"),
            "d.jpg": (encoded(image.resize((80, 60)), "jpeg", quality=90), "four"),
            "e.png": (encoded(drawn(2)), "five"),
            "f.png": (encoded(drawn(3))[:40], "six"),
        }
    )
    result = seesay.curate(table, out=tmp_path / "set", stages=["dedup"])
    left = dict(result.counts[1].left_out)
    assert len(result) == 2 and left.pop("looks the same") == 1 and left.pop("same bytes") == 1
    assert left.pop("same pixels") == 1 and sum(left.values()) == 1
    whole = parquet.read_table(tmp_path / "set" / "stages" / "1-dedup" / "00000.parquet").to_pylist()
    same = [row for row in whole if row["path"][0] in "abcd"]
    first = min(row["key"] for row in same if row["left_out"] is None)
    assert {row["copy_of"] for row in same if row["left_out"]} <= {row["key"].hex() for row in same}
    assert first.hex() in {row["copy_of"] for row in same}
    exact = seesay.curate(table, out=tmp_path / "set", stages=["dedup"], overrides=["dedup.is_near=false"])
    assert "looks the same" not in exact.counts[1].left_out


def test_images_of_evaluation_sets_are_left_out_and_the_card_says_how_many_were_found(tmp_path, pool):
    """Also a copy of a copy, and a test image that is in two sets."""
    first, second = tmp_path / "first", tmp_path / "second"
    for label, seed in (("dog", 1), ("cat", 2)):
        (first / label).mkdir(parents=True)
        (first / label / "x.jpg").write_bytes(encoded(drawn(seed), "jpeg", quality=92))
    (first / "cat" / "broken.jpg").write_bytes(b"no image")
    (second / "dog").mkdir(parents=True)
    (second / "dog" / "y.png").write_bytes(encoded(drawn(1)))
    table = pool({f"{n}.png": (encoded(drawn(n % 3)), f"caption {n}") for n in (1, 2, 3, 5)})
    named = {"stages": ["dedup"], "against": [str(first), str(second)]}
    result = seesay.curate(table, out=tmp_path / "set", **named)
    assert result.counts[1].left_out == {"same bytes in second": 1, "looks the same in first": 2}
    assert [row["path"] for row in table_of(tmp_path / "set")] == ["3.png"]
    whole = parquet.read_table(tmp_path / "set" / "stages" / "1-dedup" / "00000.parquet").to_pylist()
    assert {row["path"]: row["copy_of"] for row in whole} == {
        "1.png": "dog/y.png", "2.png": "cat/x.jpg", "5.png": "cat/x.jpg", "3.png": None,
    }  # fmt: skip
    counts = json.loads((tmp_path / "set" / "counts.json").read_text())
    assert counts["stages"][1]["against"] == [
        {"set": "first", "images": 2, "unreadable": 1, "found": 2},
        {"set": "second", "images": 1, "unreadable": 0, "found": 1},
    ]
    card = (tmp_path / "set" / "card.md").read_text()
    assert "| first | 2 | 1 | 2 | 2 |" in card and "| second | 1 | 0 | 1 | 1 |" in card
    seesay.curate(table, out=tmp_path / "set", **named)
    assert (tmp_path / "set" / "card.md").read_text() == card, "also when nothing is done again"


def test_an_image_is_written_once_and_no_larger():
    large, small = encoded(drawn(1, (300, 200)), "jpeg"), encoded(drawn(2, (40, 30)), "webp")
    data, suffix = rewritten(large, ImageSettings(size=100))
    assert suffix == "jpg" and Image.open(io.BytesIO(data)).size == (150, 100)
    assert rewritten(small, ImageSettings(size=100)) == (small, "webp")
    assert rewritten(large, ImageSettings()) == (large, "jpg")
    bitmap = encoded(drawn(3), "bmp")
    data, suffix = rewritten(bitmap, ImageSettings(quality=100))
    assert suffix == "jpg" and np.abs(decode(data).astype(int) - decode(bitmap)).mean() < 8
    with pytest.raises(seesay.BrokenSample):
        rewritten(large[:500], ImageSettings())


def test_shards_hold_what_the_table_says_and_train_reads_them(tmp_path, pool):
    table = pool({f"{n}.png": (encoded(drawn(n)), f'a "box" <{n}>\nof six') for n in range(7)})
    result = seesay.curate(table, out=tmp_path / "set", stages=STAGES, overrides=[*EASY, "shards.pairs=3"])
    rows, found = table_of(tmp_path / "set"), members(tmp_path / "set")
    assert len(rows) == len(result) == 7 and len(found) == 21
    for row in rows:
        data = found[f"{row['key']}.png"]
        assert data == (table.parent / row["path"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == row["image_sha256"]
        assert found[f"{row['key']}.txt"].decode() == row["caption"].replace("\n", " ")
        facts = json.loads(found[f"{row['key']}.json"])
        assert facts["caption"] == row["caption"] and facts["path"] == row["path"]
        with open(tmp_path / "set" / "shards" / row["shard"], "rb") as shard:
            shard.seek(row["image_offset"])
            assert shard.read(row["image_size"]) == data
    index = json.loads((tmp_path / "set" / "shards" / "index.json").read_text())
    assert [each["pairs"] for each in index["shards"]] == [3, 3, 1]
    for each in index["shards"]:
        whole = (tmp_path / "set" / "shards" / each["shard"]).read_bytes()
        assert len(whole) == each["bytes"] and hashlib.sha256(whole).hexdigest() == each["sha256"]
    from seesay.data.pairs import open_pairs

    pairs = open_pairs(str(tmp_path / "set" / "shards" / "*.tar"))
    assert len(pairs) == 7 and not pairs.problems


def test_a_caption_is_one_line_to_every_reader(tmp_path, pool):
    table = pool({"a.png": (encoded(drawn(1)), "a dog\rasleep\r\nat\nhome")})
    seesay.curate(table, out=tmp_path / "set", stages=["shards"])
    from seesay.data.pairs import open_pairs

    assert open_pairs(str(tmp_path / "set" / "shards" / "*.tar"))[0].captions == ("a dog asleep at home",)


def test_an_image_that_breaks_after_it_was_filtered_is_counted(tmp_path, pool):
    table = pool({f"{n}.png": (encoded(drawn(n)), f"caption {n}") for n in range(3)})
    (table.parent / "1.png").write_bytes(encoded(drawn(1))[:50])
    result = seesay.curate(table, out=tmp_path / "set", stages=["shards"])
    assert len(result) == 2 == len(table_of(tmp_path / "set")) and result.counts[-1].left_out.total() == 1


@pytest.mark.journey
def test_shards_are_the_same_bytes_from_any_parts_and_after_any_stop(tmp_path, pool, monkeypatch):
    images = {f"{n}.png": (encoded(drawn(n % 9)), f"a box of kind {n}") for n in range(20)}
    table = pool(images)
    named = {"stages": STAGES, "overrides": [*EASY, "shards.pairs=4"]}
    seesay.curate(table, out=tmp_path / "whole", **named)
    expected = {path.name: path.read_bytes() for path in (tmp_path / "whole" / "shards").iterdir()}
    expected.pop("begun.json")
    honest, writes = publish._replace, 0

    def stopped(source, target):
        nonlocal writes
        writes += 1
        if writes == stop:
            raise KeyboardInterrupt
        honest(source, target)

    monkeypatch.setattr(publish, "_replace", stopped)
    named["overrides"] = [*named["overrides"], "rows=6"]
    stop = 0
    for stop in range(1, 60):  # noqa: B007 - the nested function looks at it
        writes = 0
        try:
            seesay.curate(table, out=tmp_path / "cut", **named)
            break
        except KeyboardInterrupt:
            continue
    assert stop > 5
    found = {path.name: path.read_bytes() for path in (tmp_path / "cut" / "shards").iterdir()}
    found.pop("begun.json")
    assert found == expected
    assert (tmp_path / "cut" / "pairs.parquet").read_bytes() == (tmp_path / "whole" / "pairs.parquet").read_bytes()


@pytest.mark.parametrize("first", ["match,balance", "filter", "dedup"])
def test_a_set_without_a_pair_is_an_error_that_names_the_stage(tmp_path, pool, query_file, first):
    broken = first == "dedup"
    images = {f"{n}.png": (b"no" if broken else encoded(drawn(n)), f"caption {n}") for n in range(3)}
    stages = list(dict.fromkeys([*first.split(","), *STAGES]))
    named = {"out": tmp_path / "set", "stages": stages}
    if "match" in stages:
        named["queries"] = query_file("unicorn")
    if broken:
        named["stages"] = ["dedup", "shards"]
    with pytest.raises(seesay.SeesayError, match=f"no pair is left after the stage {first.split(',')[0]} "):
        seesay.curate(pool(images), **named)
    counts = json.loads((tmp_path / "set" / "counts.json").read_text())
    assert counts["pairs"] == 0 and counts["stages"][-1]["stage"] == "shards"
    assert table_of(tmp_path / "set") == []


def test_tars_are_pools_too(tmp_path, pool):
    table = pool({f"{n}.png": (encoded(drawn(n)), f"caption {n}") for n in range(3)})
    seesay.curate(table, out=tmp_path / "first", stages=["shards"])
    result = seesay.curate(tmp_path / "first" / "shards" / "00000.tar", out=tmp_path / "second", stages=["shards"])
    assert len(result) == 3
    images = {data for name, data in members(tmp_path / "first").items() if name.endswith("png")}
    assert images == {data for name, data in members(tmp_path / "second").items() if name.endswith("png")}


def test_what_a_tar_has_that_is_no_pair_is_counted(tmp_path):
    with tarfile.open(tmp_path / "pool.tar", "w") as tar:
        for name, data in {
            "a.png": encoded(drawn(1)), "a.txt": b"a dog", "b.png": encoded(drawn(2)), "c.txt": b"alone",
            "../d.png": encoded(drawn(3)),
        }.items():  # fmt: skip
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    result = seesay.curate(tmp_path / "pool.tar", out=tmp_path / "set", stages=["shards"])
    lost = {"image without caption": 1, "caption without image": 1, "refused member": 1}
    assert result.counts[0].left_out == lost and (result.counts[0].rows, len(result)) == (4, 1)


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("hosts", "bad.example/photos", "'bad.example/photos'"),
        ("hosts", "bad host.example", "'bad host.example'"),
        ("hashes", "d41d8cd98f00b204e9800998ecf8427e", "64 letters"),
    ],
)
def test_a_line_of_a_list_that_could_never_match_is_refused(tmp_path, pool, name, line, words):
    (tmp_path / "list.txt").write_text(f"# what is blocked\n{line}\n")
    table = pool({"a.png": (encoded(drawn(1)), "a dog")})
    with pytest.raises(seesay.UsageError, match=words):
        seesay.curate(
            table, out=tmp_path / "set", stages=["filter"],
            overrides=[*EASY, f"filter.blocked_{name}={tmp_path}/list.txt"],
        )  # fmt: skip


def test_hosts_of_a_list_may_be_written_as_people_write_them(tmp_path):
    """With a star, a scheme, a dot in front or at the end; a dot of another alphabet hides no host."""
    (tmp_path / "list.txt").write_text("*.star.example\nhttps://scheme.example/\n.dot.example.\nBÜCHER.example\n")
    hosts = ["a.star.example", "scheme.example", "dot.example\u3002", "xn--bcher-kva.example", "good.example"]
    columns = {"url": [f"http://{host}/a.png" for host in hosts], "caption": ["a dog"] * len(hosts)}
    parquet.write_table(pa.table(columns), tmp_path / "pool.parquet")
    sets = [*EASY, f"filter.blocked_hosts={tmp_path}/list.txt"]
    result = seesay.curate(tmp_path / "pool.parquet", out=tmp_path / "set", stages=["filter"], overrides=sets)
    assert result.counts[1].left_out == {"blocked host": 4}
    assert [row["url"] for row in table_of(tmp_path / "set")] == ["http://good.example/a.png"]

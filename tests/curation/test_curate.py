"""The journey: what comes out does not depend on parts, order or kills, and every pair that is left out is counted."""

import json
import random

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

import seesay
from seesay.base import publish
from seesay.curation import stages as stages_file
from seesay.curation.tables import ADDED, SCHEMA, Tables, pair_key

CAPTIONS = [
    f"a {animal} {place}" for animal in ("dog", "cat", "yak") for place in ("at home", "outside", "asleep")
] * 20


def files_of(folder):
    """What a set holds, without its stages and events."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and "stages" not in path.parts]
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in paths if path.name not in ("events.jsonl", ".lock")
    }


def pairs_of(folder):
    return parquet.read_table(folder / "pairs.parquet").to_pylist()


@pytest.fixture
def queries(query_file):
    return query_file("dog", "cat", "at home", "asleep", "unicorn")


def test_matched_and_balanced_pairs_are_counted_at_every_arrow(tmp_path, url_table, queries):
    table = url_table([*CAPTIONS, "", "  ", "nothing"])
    result = seesay.curate(table, queries=queries, out=tmp_path / "set", stages=["match", "balance"], per_query=30)
    counts = json.loads((tmp_path / "set" / "counts.json").read_text())
    assert [(each["stage"], each["in"], each["out"]) for each in counts["stages"]] == [
        ("read", 183, 181), ("match", 181, 160), ("balance", 160, len(result)),
    ]  # fmt: skip
    assert counts["stages"][0]["left_out"] == {"empty caption": 2}
    assert counts["stages"][1]["left_out"] == {"no query in the caption": 21}
    rows = pairs_of(tmp_path / "set")
    assert len(rows) == len(result) == counts["pairs"]
    assert [row["key"] for row in rows] == sorted(pair_key(row["url"], row["caption"]).hex() for row in rows)
    kept_for = [row["kept_for"] for row in rows]
    assert max(map(kept_for.count, set(kept_for))) == 30
    assert all(row["kept_for"] in row["queries"] for row in rows)
    assert all(
        row["queries"] == [q for q in ("dog", "cat", "at home", "asleep") if q in row["caption"]] for row in rows
    )
    lines = (tmp_path / "set" / "query-counts.tsv").read_text().splitlines()
    assert lines[0] == "query\tkind\tcaptions\tpairs\tkept_for" and lines[-1] == "unicorn\tword\t0\t0\t0"
    assert "no query in the caption" in str(result)


@pytest.mark.journey
@pytest.mark.parametrize("balance", ["cut", "draw"])
def test_tables_and_parts_of_any_number_and_order_give_the_same_set(tmp_path, url_table, queries, balance):
    whole = url_table(CAPTIONS)
    named = {"queries": queries, "stages": ["match", "balance"], "per_query": 20, "balance": balance}
    seesay.curate(whole, out=tmp_path / "one", **named)
    rows = random.Random(3).sample(parquet.read_table(whole).to_pylist(), len(CAPTIONS))
    tables = []
    for number, first in enumerate(range(0, len(rows), 23)):
        tables.append(tmp_path / f"{number}.parquet")
        parquet.write_table(pa.Table.from_pylist(rows[first : first + 23]), tables[-1])
    assert len(tables) == 8
    seesay.curate(tables, out=tmp_path / "eight", overrides=["rows=17"], **named)
    assert files_of(tmp_path / "one")["pairs.parquet"] == files_of(tmp_path / "eight")["pairs.parquet"]
    assert files_of(tmp_path / "one")["query-counts.tsv"] == files_of(tmp_path / "eight")["query-counts.tsv"]


@pytest.mark.journey
def test_a_run_stopped_at_any_write_goes_on_to_the_same_set(tmp_path, url_table, queries, monkeypatch):
    named = {"queries": queries, "stages": ["match", "balance"], "per_query": 20, "overrides": ["rows=50"]}
    table = url_table(CAPTIONS)
    seesay.curate(table, out=tmp_path / "whole", **named)
    honest, writes = publish._replace, 0

    def stopped(source, target):
        nonlocal writes
        writes += 1
        if writes == stop:
            raise KeyboardInterrupt
        honest(source, target)

    monkeypatch.setattr(publish, "_replace", stopped)
    stop = 0
    for stop in range(1, 30):  # noqa: B007 - the nested function looks at it
        writes = 0
        try:
            seesay.curate(table, out=tmp_path / "cut", **named)
            break
        except KeyboardInterrupt:
            continue
    assert stop > 4
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")


def test_what_is_done_is_not_done_again(tmp_path, url_table, queries, monkeypatch):
    named = {"queries": queries, "stages": ["match", "balance"]}
    table = url_table(CAPTIONS)
    first = seesay.curate(table, out=tmp_path / "set", **named)
    done = []
    monkeypatch.setattr(stages_file, "_write", lambda path, *_, **__: done.append(path))
    assert str(seesay.curate(table, out=tmp_path / "set", **named)) == str(first) and not done


def test_a_changed_setting_begins_anew_where_it_counts(tmp_path, url_table, queries):
    named = {"queries": queries, "stages": ["match", "balance"], "out": tmp_path / "set"}
    table = url_table(CAPTIONS)
    seesay.curate(table, per_query=10, **named)
    matched = tmp_path / "set" / "stages" / "1-match" / "00000.parquet"
    before = matched.stat().st_mtime_ns
    assert len(seesay.curate(table, per_query=1, **named)) == 4
    assert matched.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'url,caption,licence\nhttp://a/1,"a dog, asleep",CC0\nhttp://a/2,b\nhttp://a/3,"a\ncat",\n'),
        ("a.tsv", "caption\turl\tlicence\na dog, asleep\thttp://a/1\tCC0\nb\thttp://a/2\na cat\thttp://a/3\t\n"),
    ],
)
def test_text_tables_are_read_and_uneven_rows_counted(tmp_path, queries, name, text):
    (tmp_path / name).write_text(text)
    result = seesay.curate(tmp_path / name, queries=queries, out=tmp_path / "set", stages=["match"])
    assert result.counts[0].left_out == {"row with another number of columns": 1} and result.counts[0].rows == 3
    by_url = {row["url"]: row for row in pairs_of(tmp_path / "set")}
    assert by_url["http://a/1"]["caption"] == "a dog, asleep" and by_url["http://a/1"]["licence"] == "CC0"
    assert by_url["http://a/3"]["queries"] == ["cat"]


def test_json_lines_keep_their_other_columns_as_text(tmp_path, queries):
    rows = [{"url": "http://a/1", "text": "a dog", "score": 0.5, "tags": ["x"]}, {"url": "http://a/2", "text": "a cat"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    seesay.curate(tmp_path / "a.jsonl", queries=queries, out=tmp_path / "set", stages=["match"])
    found = {row["url"]: (row["score"], row["tags"]) for row in pairs_of(tmp_path / "set")}
    assert found == {"http://a/1": ("0.5", '["x"]'), "http://a/2": (None, None)}


def test_json_lines_keep_columns_that_the_first_line_lacks(tmp_path, queries):
    rows = [{"url": "http://a/1", "text": "a dog"}, {"url": "http://a/2", "text": "a cat", "licence": "CC0"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    seesay.curate(tmp_path / "a.jsonl", queries=queries, out=tmp_path / "set", stages=["match"])
    assert {row["url"]: row["licence"] for row in pairs_of(tmp_path / "set")} == {
        "http://a/1": None,
        "http://a/2": "CC0",
    }


def test_half_a_letter_and_a_mark_of_byte_order_stop_no_run(tmp_path, queries):
    """Crawls cut captions between the two halves of an emoji; editors of Windows begin a file with U+FEFF."""
    lines = [
        r'{"url": "http://a/1", "text": "a dog \ud83d!", "n": ["\udc00"]}',
        r'{"url": "http://a/2", "text": "cat \ud83d\ude00"}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8-sig")
    queries.write_text(queries.read_text(), encoding="utf-8-sig")
    seesay.curate(tmp_path / "a.jsonl", queries=queries, out=tmp_path / "set", stages=["match"])
    assert {row["caption"]: row["n"] for row in pairs_of(tmp_path / "set")} == {
        "a dog \ufffd!": '["\\ufffd"]',
        "cat \U0001f600": None,
    }
    assert (tmp_path / "set" / "query-counts.tsv").read_text().count("query") == 1


def test_a_quote_that_does_not_close_loses_no_rows_in_silence(tmp_path, queries):
    """As tables without quoting have them: all rows up to the next quote would be one caption."""
    lines = ["caption\turl", "a dog\thttp://a/1", '"a cat\thttp://a/2', "a cat\thttp://a/3", 'a "dog"\thttp://a/4']
    (tmp_path / "a.tsv").write_text("\n".join(lines) + "\n")
    with pytest.raises(seesay.RefusedInput, match=r"a quote that opens at 'a cat\\thttp://a/2'"):
        seesay.curate(tmp_path / "a.tsv", queries=queries, out=tmp_path / "set", stages=["match"])


@pytest.mark.journey
def test_a_set_can_be_the_pool_of_another_as_often_as_one_likes(tmp_path, url_table, queries):
    """Its columns are renamed, and those that were renamed before once more."""
    table = url_table(CAPTIONS[:9])
    for number in range(3):
        seesay.curate(table, queries=queries, out=tmp_path / str(number), stages=["match"])
        table = tmp_path / str(number) / "pairs.parquet"
    row = pairs_of(tmp_path / "2")[0]
    assert row["key"] == row["input_key"] == row["input_input_key"] and len(pairs_of(tmp_path / "2")) == 8


@pytest.mark.journey
def test_no_column_of_a_table_is_in_the_way_of_a_stage_or_lost(tmp_path, queries):
    """Tables have embeddings and hashes of their own; each comes back as it was."""
    names = sorted({*ADDED, *SCHEMA.names} - {"caption", "path", "url"})
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "a.txt").write_text("a dog")
    for place in (tmp_path / "a.png", tmp_path / "near" / "a.png"):
        Image.effect_noise((20, 20), 50).convert("RGB").save(place)
    columns = {"path": ["a.png"], "caption": ["a dog"], **{name: [f"my {name}"] for name in names}}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    seesay.curate(
        tmp_path / "a.parquet", queries=queries, out=tmp_path / "set", clip_score="box",
        stages=["match", "balance", "filter", "dedup", "shards"],
        overrides=["filter.language=", "filter.least_words=1", "filter.least_characters=1", "filter.least_side=1",
                   f"filter.near=['{tmp_path}/near']", "filter.clusters=1", "dedup.model=box"],
    )  # fmt: skip
    row = pairs_of(tmp_path / "set")[0]
    assert {name: row[f"input_{name}"] for name in names} == {name: f"my {name}" for name in names}


def test_captions_that_are_no_text_have_a_reason_of_their_own(tmp_path, queries):
    parquet.write_table(pa.table({"url": ["http://a/1"] * 2, "caption": [["a dog"], None]}), tmp_path / "a.parquet")
    with pytest.raises(seesay.SeesayError, match="1 x caption is no text, 1 x empty caption"):
        seesay.curate(tmp_path / "a.parquet", queries=queries, out=tmp_path / "set", stages=["match"])
    counts = json.loads((tmp_path / "set" / "counts.json").read_text())
    assert counts["stages"][0]["left_out"] == {"caption is no text": 1, "empty caption": 1}


@pytest.mark.journey
def test_the_same_path_in_two_folders_is_two_images(tmp_path, queries):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        parquet.write_table(pa.table({"path": ["1.png"], "caption": ["a dog"]}), tmp_path / name / "pool.parquet")
    named = {"queries": queries, "stages": ["match", "balance"]}
    sources = [tmp_path / name / "pool.parquet" for name in ("a", "b")]
    assert len(seesay.curate(sources, out=tmp_path / "set", **named)) == 2
    first = files_of(tmp_path / "set")["pairs.parquet"]
    seesay.curate(sources[::-1], out=tmp_path / "other", **named)
    assert files_of(tmp_path / "other")["pairs.parquet"] == first


def test_queries_that_no_caption_can_contain_are_counted(tmp_path, url_table, query_file, capsys):
    seesay.curate(
        url_table(["a dog"]), queries=query_file("dog", "mr. dog", "dog!"), out=tmp_path / "a", stages=["match"]
    )
    assert "2 of 3 queries can stand in no caption" in capsys.readouterr().err


def test_columns_of_our_own_names_are_renamed_and_tables_may_differ(tmp_path, queries, capsys):
    parquet.write_table(pa.table({"url": ["http://a/1"], "caption": ["a dog"], "key": [7]}), tmp_path / "a.parquet")
    parquet.write_table(pa.table({"url": ["http://a/2"], "caption": ["a cat"], "n": [[1, 2]]}), tmp_path / "b.parquet")
    sources = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    seesay.curate(sources, queries=queries, out=tmp_path / "set", stages=["match"])
    assert "column 'key' of the tables is called 'input_key'" in capsys.readouterr().err
    found = {row["url"]: (row["input_key"], row["n"]) for row in pairs_of(tmp_path / "set")}
    assert found == {"http://a/1": ("7", None), "http://a/2": (None, "[1, 2]")}


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"stages": ["balance", "match"]}, "put match before it"),
        ({"stages": ["match", "sort"]}, "not known"),
        ({"stages": ["match", "match"]}, "at most once"),
        ({"stages": ["shards", "match"]}, "put it last"),
        ({"stages": ["match"], "queries": None}, "needs a list of queries"),
        ({"stages": ["match"], "overrides": ["match.ignorecase=true"]}, "match.ignore_case"),
        ({"stages": ["filter"]}, "queries.tsv is for the stage match"),
        ({"stages": ["match"], "per_query": 5}, r"balance\.per_query is of the stage balance, .* are match;"),
        ({"stages": ["match"], "clip_score": "box"}, r"filter\.model is of the stage filter"),
        ({"stages": ["match"], "against": "nowhere"}, r"dedup\.against is of the stage dedup"),
        ({"stages": ["match"], "image_size": 64}, r"image\.size is of the stage fetch or shards"),
        ({"stages": ["match"], "overrides": ["shards.pairs=5"]}, r"shards\.pairs is of the stage shards"),
        ({"stages": ["match", "filter"], "overrides": ["filter.share=0.1"]}, r"nothing without filter\.model"),
        ({"stages": ["match", "filter"], "overrides": ["filter.clusters=9"]}, r"nothing without filter\.near"),
        ({"stages": ["match", "filter"], "overrides": ["filter.features=box"]}, "set one, or leave it out"),
        (
            {"clip_score": "box", "overrides": ["filter.least_score=0.1", "filter.share=0.1"]},
            "two ways to choose by one score",
        ),
        ({"stages": ["match", "dedup"], "overrides": ["dedup.least_cosine=0.9"]}, r"nothing without dedup\.model"),
        ({"stages": ["match", "dedup", "fetch"]}, "put fetch before it"),
        ({"stages": ["match", "filter", "fetch"], "clip_score": "box"}, "put fetch before it"),
        ({"stages": ["match", "dedup"], "against": "nowhere"}, "no 'nowhere'"),
        ({"stages": ["match", "filter"], "overrides": ["filter.blocked_hosts=nowhere"]}, "list nowhere cannot be read"),
        ({"stages": ["match", "fetch"], "allow_private": "ten"}, "allow.private: 'ten'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_any_work(tmp_path, url_table, queries, named, words):
    with pytest.raises(seesay.UsageError, match=words):
        seesay.curate(url_table(["a dog"]), out=tmp_path / "set", **{"queries": queries, **named})
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("name", "data", "error", "words"),
    [
        ("a.csv", b"url,name\nhttp://a,x\n", seesay.UsageError, "needs the columns caption"),
        ("a.csv", b"caption,caption,url\n", seesay.RefusedInput, "two columns of one name"),
        ("a.csv", b"url,caption\n", seesay.RefusedInput, "has no row"),
        ("a.csv", b"url,caption\nhttp://a,\xff\xfe\n", seesay.RefusedInput, "no whole table"),
        ("a.jsonl", b'{"url": "http://a", "caption": "x"}\n{"url"\n', seesay.RefusedInput, "line 2"),
        ("a.parquet", b"PAR1", seesay.RefusedInput, "no whole Parquet|not a whole Parquet"),
        ("a.doc", b"", seesay.UsageError, "should end in"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path, queries, name, data, error, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(error, match=words):
        seesay.curate(tmp_path / name, queries=queries, out=tmp_path / "set", stages=["match"])


def test_a_second_run_in_one_folder_is_refused(tmp_path, url_table, queries):
    from seesay.base.journal import Journal

    with Journal(tmp_path / "set"), pytest.raises(seesay.StorageError, match="in use"):
        seesay.curate(url_table(["a dog"]), queries=queries, out=tmp_path / "set", stages=["match"])


def test_a_folder_of_shards_that_no_run_wrote_is_never_emptied(tmp_path, url_table, queries):
    """As a pool of tars has it whose folder is given as --out."""
    (tmp_path / "set" / "shards").mkdir(parents=True)
    (tmp_path / "set" / "shards" / "mine.tar").write_bytes(b"precious")
    with pytest.raises(seesay.RefusedInput, match=r"would be emptied, but holds 'mine\.tar'"):
        seesay.curate(url_table(["a dog"]), queries=queries, out=tmp_path / "set", stages=["match", "shards"])
    assert (tmp_path / "set" / "shards" / "mine.tar").read_bytes() == b"precious"
    assert not (tmp_path / "set" / "stages").exists()


def test_a_set_is_not_written_over_the_table_that_it_is_made_from(tmp_path, url_table, queries):
    named = {"queries": queries, "out": tmp_path / "set", "stages": ["match"]}
    seesay.curate(url_table(["a dog", "a bird"]), **named)
    before = files_of(tmp_path / "set")
    with pytest.raises(seesay.UsageError, match="lies where the set is to be written"):
        seesay.curate(tmp_path / "set" / "pairs.parquet", **named)
    assert files_of(tmp_path / "set") == before


def test_parts_have_the_rows_that_were_wanted(tmp_path, url_table):
    tables = Tables([url_table(CAPTIONS)])
    assert [len(part) for part in tables.parts(50)] == [50, 50, 50, 30]

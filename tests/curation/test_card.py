"""The card says what counts.json says, and what strangers wrote stays text."""

import hashlib
import json
import random
from html.parser import HTMLParser

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

import seesay
from seesay.curation.card import _row

CAPTION = 'a dog <script>alert(1)</script> | =cmd() \x1b[31m "quoted"'


@pytest.fixture
def made(tmp_path, query_file):
    """A set of three images, whose caption, host and licence are hostile."""
    for number in range(3):
        colours = random.Random(number)
        image = Image.new("RGB", (8, 8))
        image.putdata([tuple(colours.randrange(256) for _ in range(3)) for _ in range(64)])
        image.resize((40, 40)).save(tmp_path / f"{number}.png")
    columns = {
        "path": [f"{number}.png" for number in range(3)],
        "url": ["http://good.example/1", "http://bad.example/<img>", "http://good.example/2"],
        "caption": [CAPTION, "a cat", "two cats and a dog"],
        "license": ["CC0", "<b>mine</b>", "CC0"],
    }
    parquet.write_table(pa.table(columns), tmp_path / "pool.parquet")
    queries = query_file("dog", "cat", "unicorn")
    seesay.curate(
        tmp_path / "pool.parquet", queries=queries, out=tmp_path / "set", stages=["match", "balance", "dedup", "shards"]
    )
    return tmp_path / "set"


class Tags(HTMLParser):
    """The tags of a page, where they come."""

    def __init__(self):
        super().__init__()
        self.tags, self.addresses = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]


def test_the_card_has_the_counts_of_every_step(made):
    text, counts = (made / "card.md").read_text(), json.loads((made / "counts.json").read_text())
    assert counts["licences"] == {"CC0": 2, "<b>mine</b>": 1} and counts["queries"] == {
        "all": 3,
        "found": 2,
        "with_pairs": 2,
    }
    for stage in counts["stages"]:
        assert f"| {stage['stage']} | {stage['in']} | {stage['out']} |" in text
    assert "| dog | word | 2 | 2 |" in text and counts["pairs_sha256"] in text
    assert "No evaluation set was compared with" in text
    assert "2 of 3 queries were found in captions, 3 times in all." in text


def test_the_page_runs_nothing_and_fetches_nothing(made):
    page = (made / "card.html").read_text()
    parser = Tags()
    parser.feed(page)
    assert "script" not in parser.tags and parser.tags.count("img") == 3
    assert all(address.startswith(("data:image/webp", "#")) for address in parser.addresses)
    assert "\x1b" not in page and "&lt;script&gt;" in page and "&lt;b&gt;mine" in page
    assert "default-src 'none'" in page and "<svg" in page


def test_the_card_names_what_the_set_was_made_from_and_with(made, tmp_path):
    counts, text = json.loads((made / "counts.json").read_text()), (made / "card.md").read_text()
    for kind, name in (("table", "pool.parquet"), ("queries", "queries.tsv")):
        data = (tmp_path / name).read_bytes()
        expected = {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        assert counts["inputs"][kind] == [expected]
        assert f"| {kind} | {name} | {len(data):,} | {expected['sha256']} |" in text
    assert counts["versions"]["pyarrow"] == pa.__version__ and f"pyarrow {pa.__version__}" in text


def test_what_a_card_does_not_show_is_counted_on_it(tmp_path):
    """125 hosts: 100 are in counts.json, 20 on the card, and the others are a number on both."""
    urls = [f"http://host-{n:03}.example/{m}" for n in range(125) for m in range(3 if n < 10 else 1)]
    parquet.write_table(pa.table({"url": urls, "caption": ["a dog"] * len(urls)}), tmp_path / "pool.parquet")
    (tmp_path / "words.txt").write_text("rude\n")
    seesay.curate(
        tmp_path / "pool.parquet", out=tmp_path / "set", stages=["filter"],
        overrides=["filter.language=", "filter.least_words=1", "filter.least_characters=1",
                   f"filter.blocked_words={tmp_path}/words.txt"],
    )  # fmt: skip
    counts, text = (tmp_path / "set" / "counts.json").read_text(), (tmp_path / "set" / "card.md").read_text()
    facts = json.loads(counts)
    assert len(facts["hosts"]) == 100 and facts["more"] == {"hosts": {"names": 25, "pairs": 25}}
    assert "105 more have 105 pairs." in text
    assert [each["name"] for each in facts["inputs"]["list"]] == ["words.txt"] and "| list | words.txt | 5 |" in text


def test_cells_of_markdown_hold_what_they_are_given():
    assert _row(["a|b", "<i>", "`x`"]) == "| a\\|b | &lt;i&gt; | \\`x\\` |"


def test_the_same_set_has_the_same_card(made, tmp_path):
    before = {name: (made / name).read_bytes() for name in ("card.md", "card.html", "counts.json")}
    seesay.curate(
        tmp_path / "pool.parquet",
        queries=tmp_path / "queries.tsv",
        out=made,
        stages=["match", "balance", "dedup", "shards"],
    )
    assert before == {name: (made / name).read_bytes() for name in before}


def test_the_card_has_no_queries_of_an_earlier_run(made, tmp_path, capsys):
    assert "## Queries of the head" in (made / "card.md").read_text()
    seesay.curate(tmp_path / "pool.parquet", out=made, stages=["shards"])
    assert "Queries" not in (made / "card.md").read_text() + (made / "card.html").read_text()
    assert "query-counts.tsv is of an earlier run" in capsys.readouterr().err

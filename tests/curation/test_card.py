"""The card says what counts.json says, and what strangers wrote stays text."""

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
    assert "2 of 3 queries were found in captions, 3 times in all." in text


def test_the_page_runs_nothing_and_fetches_nothing(made):
    page = (made / "card.html").read_text()
    parser = Tags()
    parser.feed(page)
    assert "script" not in parser.tags and parser.tags.count("img") == 3
    assert all(address.startswith(("data:image/webp", "#")) for address in parser.addresses)
    assert "\x1b" not in page and "&lt;script&gt;" in page and "&lt;b&gt;mine" in page
    assert "default-src 'none'" in page and "<svg" in page


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

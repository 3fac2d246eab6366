"""Lists of queries: what is counted, what is left out, and in which order kinds fill the list."""

import bz2
import gzip
import math
from collections import Counter

import pyarrow as pa
import pytest
from pyarrow import parquet

import seesay
from seesay.curation import queries as queries_file
from seesay.curation.corpus import Corpus, plain, wordnet_lemmas
from seesay.curation.queries import Query, bigrams_by_pmi, count_bigrams, count_words, read_queries, write_queries
from seesay.curation.spacing import can_match, contains, spaced

# As `data.noun` and `data.adj` of WordNet 3.0 have them, glosses shortened; a licence stands above, after two spaces.
NOUNS = """  1 This software and database is being provided to you
02084071 05 n 03 dog 0 domestic_dog 0 Canis_familiaris 0 002 @ 02083346 n 0000 | a member of the genus Canis
08959683 15 n 02 Paris 0 City_of_Light 0 001 @i 08524735 n 0000 | the capital of France
"""
ADJECTIVES = "00015247 00 s 01 galore(ip) 0 001 & 00013887 a 0000 | in great numbers\n"
# The layout that MediaWiki's export writes, of three pages: an article, a redirect, and a talk page.
DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="en">
  <siteinfo><sitename>Wikipedia</sitename></siteinfo>
  <page><title>Red panda</title><ns>0</ns><id>1</id>
    <revision><id>2</id><text bytes="9" xml:space="preserve">{{Speciesbox|name={{lang|en|panda}}}}
The '''red panda''' eats [[bamboo]] and [[Arrow bamboo|arrow shoots]].&lt;ref name="a"&gt;Glatston&lt;/ref&gt;
[[File:Panda.jpg|thumb|a [[bamboo]] eater]] [[Category:Mammals]]</text></revision></page>
  <page><title>Firefox (animal)</title><ns>0</ns><redirect title="Red panda" />
    <revision><text>#REDIRECT [[Red panda]]</text></revision></page>
  <page><title>Talk:Red panda</title><ns>1</ns><revision><text>chatter</text></revision></page>
</mediawiki>
"""


@pytest.fixture
def wordnet(tmp_path):
    folder = tmp_path / "wordnet"
    folder.mkdir()
    texts = {"noun": NOUNS, "adj": ADJECTIVES, "verb": "", "adv": ""}
    for kind, text in texts.items():
        (folder / f"data.{kind}").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("caption", "query", "is_contained"),
    [
        ("a red panda", "red panda", True),
        ("a red panda, asleep", "red panda", True),
        ("a redder panda", "red", False),
        ("Red panda", "red panda", False),
        ("red  panda", "red panda", False),
        ("panda\tred\n", "red", True),
        ("what?no", "no", True),
        ("a (panda)", "panda", False),
        ("St. Louis", "St. Louis", False),
        ("St. Louis", "St .  Louis", True),
    ],
)
def test_a_query_is_contained_between_spaces_and_marks(caption, query, is_contained):
    assert contains(caption, query) == is_contained


def test_the_spacing_is_that_of_metaclip():
    """`spacing` of its substr_matching.py, written out: marks one after the other, then white space."""
    text = "a,b.c;d:e?f!g`h\ti\nj\rk ... (l)"
    expected = f" {text} "
    for mark in [",", ".", ";", ":", "?", "!", "`"]:
        expected = expected.replace(mark, f" {mark} ")
    for space in ["\t", "\n", "\r"]:
        expected = expected.replace(space, " ")
    assert spaced(text) == expected


@pytest.mark.parametrize("query", ["St. Louis", "...", ".", "", " ", "a\tb", "a. b", "a ., b", "a . , b"])
def test_a_query_that_no_caption_contains_is_known(query):
    assert not can_match(query)


@pytest.mark.parametrize(
    ("caption", "query"),
    [("a hot dog", "hot dog"), ("a.b", "a . b"), ("café", "café"), ("AC/DC!", "AC/DC"), ("rock 'n' roll", "'n' roll")],
)
def test_a_query_that_a_caption_can_contain_is_known(caption, query):
    assert can_match(query) and contains(caption, query)


def test_lemmas_are_those_of_wordnets_files_as_written(wordnet):
    lemmas = wordnet_lemmas(wordnet)
    assert lemmas == ["dog", "domestic dog", "Canis familiaris", "Paris", "City of Light", "galore"]


def test_a_page_of_wikipedia_is_its_words():
    assert plain("{{a|{{b}}}}'''Cats''' are [[Felis|small cats]] &amp; [[dog]]s<ref>no</ref>.\n== Head ==").split() == [
        *("Cats", "are", "small", "cats", "&", "dogs", ".", "Head")
    ]


@pytest.mark.parametrize(("name", "pack"), [("a.xml", bytes), ("a.xml.gz", gzip.compress), ("a.xml.bz2", bz2.compress)])
def test_articles_of_a_dump_are_read_and_redirects_and_talk_are_not(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(DUMP.encode()))
    (document,) = Corpus(tmp_path / name).documents()
    assert document.title == "Red panda"
    assert document.links == ("bamboo", "Arrow bamboo", "bamboo")
    assert document.text.split() == ["The", "red", "panda", "eats", "bamboo", "and", "arrow", "shoots."]


def test_words_are_counted_in_text_gzip_and_parquet_alike(tmp_path):
    text = "a dog and a cat\na cat\n"
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(text.encode()))
    parquet.write_table(pa.table({"text": text.splitlines(), "title": ["Dogs", "Cats"]}), tmp_path / "c.parquet")
    words, links, rare = count_words([Corpus(tmp_path / name) for name in ("a.txt", "b.txt.gz", "c.parquet")])
    assert words == {"a": 9, "dog": 3, "and": 3, "cat": 6}
    assert links == {"Dogs": 0, "Cats": 0} and rare == 0


def test_bigrams_are_frequent_words_with_a_space_between(tmp_path):
    (tmp_path / "a.txt").write_text("hot dog, hot dog; hot  dog hot-dog hot rare dog\n")
    pairs, _ = count_bigrams([Corpus(tmp_path / "a.txt")], {"hot": 4, "dog": 4})
    assert pairs == {("hot", "dog"): 2}


def test_pmi_is_that_of_nltk_and_the_highest_comes_first():
    """log2(n(xy) N / (n(x) n(y))): 2 * 16 / (2 * 2) = 8 and 4 * 16 / (4 * 8) = 2."""
    words = Counter({"hot": 2, "dog": 2, "a": 8, "cat": 4})
    pairs = Counter({("a", "cat"): 4, ("hot", "dog"): 2, ("dog", "a"): 1})
    assert words.total() == 16
    assert list(bigrams_by_pmi(pairs, words, least=2, pmi=1)) == [("hot dog", 2), ("a cat", 4)]
    assert list(bigrams_by_pmi(pairs, words, least=2, pmi=math.log2(8))) == [("hot dog", 2)]


def test_kinds_fill_the_list_in_their_order_until_it_is_full(tmp_path, wordnet):
    (tmp_path / "wiki.xml").write_text(DUMP)
    (tmp_path / "more.txt").write_text("the dog and the panda\n" * 3)
    sources, out = [tmp_path / "wiki.xml", tmp_path / "more.txt"], tmp_path / "q.tsv"
    whole = seesay.queries(sources, out=out, least=3, pmi=0.5, wordnet=wordnet)
    kinds = [row.kind for row in whole.rows]
    assert kinds == sorted(kinds, key=["wordnet", "word", "bigram", "title"].index)
    assert Query(text="dog", kind="wordnet", count=3) in whole.rows
    assert Query(text="the", kind="word", count=6) in whole.rows
    assert Query(text="the dog", kind="bigram", count=3) in whole.rows
    assert Query(text="bamboo", kind="title", count=2) in whole.rows
    assert len({row.text for row in whole.rows}) == len(whole)
    assert read_queries(out) == list(whole.rows)
    assert seesay.queries(sources, out=out, count=8, least=3, wordnet=wordnet).rows == whole.rows[:8]


def test_a_list_without_wordnet_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(queries_file, "find_wordnet", lambda: None)
    (tmp_path / "a.txt").write_text("dog dog\n")
    seesay.queries(tmp_path / "a.txt", out=tmp_path / "q.tsv", least=2)
    assert "WordNet's files are not on this machine" in capsys.readouterr().err


def test_a_list_that_is_written_is_read_back(tmp_path):
    rows = [Query(text="café au lait", kind="bigram", count=4), Query(text="99", kind="word", count=0)]
    write_queries(tmp_path / "q.tsv", rows)
    assert (tmp_path / "q.tsv").read_text() == "query\tkind\tcount\ncafé au lait\tbigram\t4\n99\tword\t0\n"
    assert read_queries(tmp_path / "q.tsv") == rows


def test_a_list_may_be_lines_of_queries_alone(tmp_path):
    (tmp_path / "q.tsv").write_text("dog\ncat\ndog\n\n")
    assert [row.text for row in read_queries(tmp_path / "q.tsv")] == ["dog", "cat"]


@pytest.mark.parametrize(
    ("name", "data", "error", "words"),
    [
        ("a.xml", b"<mediawiki><page>", seesay.RefusedInput, "no whole XML"),
        ("a.txt.gz", b"no gzip at all", seesay.RefusedInput, "damaged"),
        ("a.txt.gz", gzip.compress(b"dog " * 9999, mtime=0)[:40], seesay.RefusedInput, "ends in the middle"),
        ("a.txt.gz", gzip.compress(b"x", mtime=0)[:10] + b"\xff" * 40, seesay.RefusedInput, "damaged"),
        ("a.txt.bz2", b"BZh9" + b"\xff" * 40, seesay.RefusedInput, "damaged"),
        ("a.parquet", b"PAR1", seesay.RefusedInput, "Parquet"),
        ("a.txt", b"dog\n", seesay.RefusedInput, "no word occurs 100 times"),
        ("a.png", b"\x89PNG\r\n\x1a\n\0\0\0", seesay.RefusedInput, "no text in UTF-8"),
        ("a.txt", "dog\n".encode("utf-16"), seesay.RefusedInput, "save it as UTF-8"),
    ],
)
def test_a_damaged_corpus_is_refused_in_one_line(tmp_path, monkeypatch, name, data, error, words):
    monkeypatch.setattr(queries_file, "find_wordnet", lambda: None)  # some machines have its files
    (tmp_path / name).write_bytes(data)
    with pytest.raises(error, match=words):
        seesay.queries(tmp_path / name, out=tmp_path / "q.tsv")
    assert not (tmp_path / "q.tsv").exists()


def test_what_is_rarest_goes_where_too_much_would_be_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(queries_file, "MOST_COUNTED", 4)
    (tmp_path / "a.txt").write_text("".join(f"a b{i} a b\n" for i in range(6)) + "a b\n" * 9)
    frequent = dict.fromkeys(["a", "b", *(f"b{i}" for i in range(6))], 9)
    pairs, rare = count_bigrams([Corpus(tmp_path / "a.txt")], frequent)
    assert pairs["a", "b"] >= 9 and rare > 0

"""Matching: the automaton finds what one query at a time finds, and nothing else."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seesay.curation.match import matcher
from seesay.curation.queries import count_bigrams, count_words
from seesay.curation.spacing import contains, spaced
from seesay.data.pairs import open_pairs

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
REAL = SHARED / "train-flickr8k"
words = st.sampled_from(["a", "hot", "dog", "hotdog", "Dog", "ü"])
marks = st.sampled_from([" ", "  ", ",", ".", "!", "\n", "-", ""])
texts = st.lists(st.tuples(words, marks), max_size=8).map(lambda parts: "".join(word + mark for word, mark in parts))


@given(texts)
def test_what_is_found_is_what_each_query_alone_finds(text):
    queries = ["a", "hot dog", "dog", "hot", "Dog", "a hot dog", "ü", "hot ,  dog", "-"]
    assert matcher(queries)(text) == [number for number, query in enumerate(queries) if contains(text, query)]


def test_queries_that_share_a_space_are_both_found():
    assert matcher(["red", "panda", "red panda", "panda bear"])("a red panda bear") == [0, 1, 2, 3]


def test_capitals_count_unless_they_are_to_be_ignored():
    assert matcher(["Dog", "dog"])("a Dog") == [0]
    assert matcher(["Dog", "dog", "cat"], ignore_case=True)("a DOG") == [0, 1]


class _Corpus:
    """Captions as a corpus."""

    size, read, path = 1, 1, Path("captions")

    def __init__(self, captions):
        self.captions = captions

    def documents(self):
        from seesay.curation.corpus import Document

        return (Document(caption) for caption in self.captions)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="not measured: no ../shared/data")
def test_ten_thousand_real_captions_match_as_by_brute_force():
    """Every word and every frequent bigram of 10,000 captions, each looked for in each caption alone."""
    pairs = open_pairs([REAL])
    captions = [caption for index in range(2000) for caption in pairs.captions(index)]
    assert len(captions) == 10_000
    counted, _, _ = count_words([_Corpus(captions)])
    pairs_of_words, _ = count_bigrams([_Corpus(captions)], dict(counted))
    queries = [*counted, *(" ".join(pair) for pair, number in pairs_of_words.items() if number > 2)]
    matched = matcher(queries)
    padded = [f" {query} " for query in queries]
    total = 0
    for caption in captions:
        text = spaced(caption)
        expected = [number for number, query in enumerate(padded) if query in text]
        assert matched(caption) == expected
        total += len(expected)
    assert total > 100_000

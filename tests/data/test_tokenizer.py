"""The tokenizer: CLIP's order of ids, its cleaning, and ids that can be checked by hand."""

import gzip
import json
from pathlib import Path

import pytest

from seesay.base.errors import RefusedInput, UsageError
from seesay.data.tokenizer import CaptionTokenizer, clean, pad

WORDS = [("a", "t</w>"), ("c", "at</w>"), ("d", "o"), ("do", "g</w>")]
A_WORD, S_WORD = 256 + ord("a") - 33, 256 + ord("s") - 33


def small(context=8):
    return CaptionTokenizer(WORDS, context=context)


def test_ids_are_bytes_then_word_ends_then_merges_then_start_and_end():
    tokenizer = small()
    assert tokenizer.vocab_size == 512 + 4 + 2
    assert (tokenizer.start, tokenizer.end) == (516, 517)
    assert tokenizer(["a cat", "CAT", "dogs"]) == [
        [516, A_WORD, 513, 517],
        [516, 513, 517],
        [516, 514, ord("g") - 33, S_WORD, 517],
    ]


def test_empty_and_blank_captions_are_start_and_end():
    assert small()(["", "  \n "]) == [[516, 517], [516, 517]]


def test_long_captions_are_cut_with_the_end_token_kept():
    row = small(context=5)(["cat " * 50])[0]
    assert row == [516, 513, 513, 513, 517]


def test_any_string_has_ids_and_specials_in_it_are_plain_text():
    tokenizer = small(context=64)
    for text in ("<|endoftext|>", "\ud83d lone", "\x00\x01", "é日本語🙂", "‮x‬"):
        row = tokenizer([text])[0]
        assert row[0] == tokenizer.start and row[-1] == tokenizer.end
        assert all(index < tokenizer.start for index in row[1:-1])


def test_cleaning_lowers_collapses_and_resolves_entities_twice():
    assert clean("  It&amp;#39;s \t CLIP&#39;s\nFINE ") == "it's clip's fine"
    assert clean("schÃ¶n") == "schön"


@pytest.mark.parametrize("odd", [None, b"cat", 3])
def test_what_is_not_a_string_is_named_with_its_place(odd):
    with pytest.raises(TypeError, match=f"caption 1 is {type(odd).__name__}, not a string"):
        small()(["cat", odd])


def test_no_captions_have_no_ids():
    assert small()([]) == [] and small().tokens([]).ids_BL.shape == (0, 0)


def test_lists_and_the_padded_batch_say_the_same():
    captions = ["a cat", "", "dogs and a cat " * 9, "CAT"]
    tokens, rows = small().tokens(captions), small()(captions)
    assert tokens.ids_BL.shape == (4, 8) and tokens.length_B.tolist() == [len(row) for row in rows]
    assert [row[:length] for row, length in zip(tokens.ids_BL.tolist(), tokens.length_B, strict=True)] == rows
    assert tokens.ids_BL[1, 2:].tolist() == [0] * 6


def test_decoding_gives_the_words_back():
    tokenizer = small(context=32)
    assert tokenizer.decode(tokenizer(["a cat, naïve"])[0]) == "a cat , naïve"


def test_training_keeps_the_order_and_never_exceeds_the_size():
    captions = ["a photo of a cat", "a photo of a dog", "two cats on the photo"] * 3
    tokenizer = CaptionTokenizer.train(captions, vocab_size=530, context=16)
    assert 514 < tokenizer.vocab_size <= 530
    assert len(tokenizer(["photo"])[0]) == 3
    assert CaptionTokenizer.train(captions, vocab_size=530, context=16).merges == tokenizer.merges
    with pytest.raises(UsageError, match="514"):
        CaptionTokenizer.train(captions, vocab_size=500, context=16)


def test_json_brings_the_same_tokenizer_back():
    again = CaptionTokenizer.from_json(json.loads(json.dumps(small().to_json())))
    assert again.merges == small().merges and again(["a cat"]) == small()(["a cat"])
    with pytest.raises(RefusedInput, match="clip-bpe"):
        CaptionTokenizer.from_json({"kind": "other"})


def test_merges_file_and_tokenizer_json_give_the_same_ids(tmp_path):
    lines = "#version: 0.2\n" + "\n".join(" ".join(pair) for pair in WORDS) + "\n"
    (tmp_path / "merges.txt").write_text(lines)
    from_merges = CaptionTokenizer.from_file(tmp_path / "merges.txt")
    model = json.loads(from_merges._bpe.to_str())["model"]
    vocabulary = model["vocab"]
    vocabulary |= {"<|startoftext|>": from_merges.start, "<|endoftext|>": from_merges.end}
    document = {"model": model | {"merges": [" ".join(pair) for pair in WORDS]}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    from_json = CaptionTokenizer.from_file(tmp_path / "tokenizer.json")
    assert from_json(["a cat, dogs"]) == from_merges(["a cat, dogs"])
    vocabulary["cat</w>"] = 7
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(RefusedInput, match="cat</w>"):
        CaptionTokenizer.from_file(tmp_path / "tokenizer.json")


@pytest.mark.journey
def test_a_gzipped_merges_file_is_read_and_a_damaged_or_huge_one_refused(tmp_path):
    lines = "#version: 0.2\n" + "\n".join(" ".join(pair) for pair in WORDS) + "\n"
    place, whole = tmp_path / "merges.txt.gz", gzip.compress(lines.encode())
    place.write_bytes(whole)
    assert CaptionTokenizer.from_file(place).merges == tuple(WORDS)
    for damaged in (whole[:-9], whole[:20] + b"xx" + whole[22:], lines.encode(), b""):
        place.write_bytes(damaged)
        with pytest.raises(RefusedInput, match=r"merges\.txt\.gz"):
            CaptionTokenizer.from_file(place)
    place.write_bytes(gzip.compress(b"\n" * ((64 << 20) + 1)))
    with pytest.raises(RefusedInput, match="more than 64 MiB"):
        CaptionTokenizer.from_file(place)


def test_a_file_that_only_says_it_is_clips_is_refused(tmp_path):
    lines = '"bpe_simple_vocab_16e6.txt#version: 0.2\n' + "\n".join(" ".join(pair) for pair in WORDS) + "\n"
    (tmp_path / "merges.txt").write_text(lines)
    with pytest.raises(RefusedInput, match="its merges are others"):
        CaptionTokenizer.from_file(tmp_path / "merges.txt")
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(RefusedInput, match="holds no merges"):
        CaptionTokenizer.from_file(tmp_path / "merges.txt")


def test_damaged_merges_are_refused(tmp_path):
    with pytest.raises(RefusedInput, match="damaged"):
        CaptionTokenizer([("x", "yz")], context=8)
    with pytest.raises(RefusedInput, match="twice"):
        CaptionTokenizer([("a", "t"), ("a", "t")], context=8)
    (tmp_path / "merges.txt").write_text("one two three\n")
    with pytest.raises(RefusedInput, match="merge 0"):
        CaptionTokenizer.from_file(tmp_path / "merges.txt")
    with pytest.raises(RefusedInput, match=r"'do'.*damaged"):
        CaptionTokenizer([("do", "g</w>"), ("d", "o")], context=8)
    (tmp_path / "merges.txt").write_bytes(b"a \xff\n")
    with pytest.raises(RefusedInput, match="damaged or no text"):
        CaptionTokenizer.from_file(tmp_path / "merges.txt")
    with pytest.raises(UsageError, match="does not exist"):
        CaptionTokenizer.from_file(Path("nowhere.json"))


def test_padding_is_as_long_as_the_longest():
    tokens = pad([[5, 6, 7], [8]])
    assert tokens.ids_BL.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert tokens.length_B.tolist() == [3, 1]


def test_pairs_seen_equally_often_are_merged_in_the_same_order_every_time():
    captions = [" ".join(f"{first}{last}" for first in "abcdef") for last in "ghijkl"] * 3
    learned = [CaptionTokenizer.train(captions, vocab_size=600, context=16).to_json() for _ in range(4)]
    assert all(tokenizer == learned[0] for tokenizer in learned)

"""Ids against references: a plain BPE written here, CLIP's published ids, and open_clip's own tokenizer.

CLIP's merges are not shipped: what needs them reads SEESAY_CLIP_MERGES or an installed open_clip, and skips without.
"""

import html
import importlib.util
import os
import random
import re
import subprocess
import sys
import tarfile
import threading
import time
import unicodedata
from functools import cache
from itertools import pairwise, product
from pathlib import Path

import ftfy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seesay.data import tokenizer as module
from seesay.data.tokenizer import MEMO_ENTRIES, CaptionTokenizer, clean

DATA = Path(os.environ.get("SEESAY_DATA", Path(__file__).parents[3] / "shared" / "data"))
CAPTIONS = [
    "a photo of a cat, a dog and the dogs' house",
    "It's 2021 & they're here: we've got the cat's photo!",
    "naïve café über schön, the naïve café",
    "日本語 の 日本 photo 🙂🙂 🙂 ...!!! ... !!",
    "нет нету aaa aaaa aaaaa",
] * 2


@cache
def own_vocabulary(context: int = 77) -> CaptionTokenizer:
    return CaptionTokenizer.train(CAPTIONS, vocab_size=700, context=context)


class PlainTokenizer:
    """CLIP's tokenizer as its description has it, in the slowest way."""

    def __init__(self, merges, context):
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in printable]
        self.letter = {byte: chr(byte) for byte in printable}
        self.letter |= {byte: chr(256 + index) for index, byte in enumerate(others)}
        singles = [self.letter[byte] for byte in (*printable, *others)]
        symbols = [*singles, *(single + "</w>" for single in singles), *("".join(pair) for pair in merges)]
        self.id_of = {symbol: index for index, symbol in enumerate([*symbols, "start", "end"])}
        self.rank = {pair: index for index, pair in enumerate(merges)}
        self.context = context

    def __call__(self, caption):
        text = html.unescape(html.unescape(ftfy.fix_text(caption))).strip()
        text = " ".join(text.split()).lower()
        ids = [self.id_of[symbol] for piece in self.pieces(text) for symbol in self.merged(piece)]
        return [self.id_of["start"], *ids[: self.context - 2], self.id_of["end"]]

    def pieces(self, text):
        at = 0
        while at < len(text):
            rest, kind = text[at:], kind_of(text[at])
            short = next(
                (end for end in ("s", "ſ", "t", "re", "ve", "m", "ll", "d") if rest.startswith("'" + end)), None
            )
            if kind == " ":
                at += 1
                continue
            if short:
                length = 1 + len(short)
            elif kind == "N":
                length = 1
            else:
                length = next((i for i, letter in enumerate(rest) if kind_of(letter) != kind), len(rest))
            yield rest[:length]
            at += length

    def merged(self, piece):
        word = [self.letter[byte] for byte in piece.encode("utf-8")]
        word[-1] += "</w>"
        while True:
            known = [pair for pair in pairwise(word) if pair in self.rank]
            if not known:
                return word
            best, joined = min(known, key=self.rank.__getitem__), []
            while word:
                both = tuple(word[:2]) == best
                joined.append("".join(word[: 1 + both]))
                word = word[1 + both :]
            word = joined


def kind_of(letter):
    if letter.isspace():
        return " "
    category = unicodedata.category(letter)[0]
    return category if category in "LN" else "other"


# Characters that Unicode had by 2002 and has not put into another class since: whatever version a library knows.
OLD = [
    letter
    for letter in map(chr, range(0x110000))
    if (category := unicodedata.ucd_3_2_0.category(letter)) not in ("Cn", "Cs", "Co")
    and category == unicodedata.category(letter)
]
FRAGMENTS = [
    *(
        "cat",
        "dog",
        "photo",
        "the",
        "house",
        "café",
        "naïve",
        "日本",
        "нет",
        "İ",
        "ΑΣ",
        "ſ",
        "'s",
        "'S",
        "'t",
        "'re",
        "'ve",
    ),
    *(
        "'m",
        "'ll",
        "'d",
        "'ſ",
        "'",
        "''",
        "2021",
        "½",
        "Ⅷ",
        "٣",
        "🙂",
        "👨\u200d👩\u200d👧",
        "🇩🇪",
        "...",
        "!!",
        "&amp;",
    ),
    *("&amp;amp;lt;", "&#39;", "&#x41;", "&eacute", "&nbsp;", "&", "&;", "&#", "<b>", "<", "schÃ¶n", "â€™", "â€œ", "Ã"),
    *("Â°", "’", "“", "”", "–", "—", "…", "ﬁ", "Ａ", "１", "한", "ｶ", "\u00ad"),
]
CONTROLS = [
    "\0",
    "\1",
    "\x0b",
    "\x1c",
    "\x85",
    "\x9d",
    "\x1b[0m",
    "\r",
    "\n",
    "\t",
    "\u2028",
    "\ufeff",
    "\ufffe",
    "\ufffd",
]
OTHERS = [
    "\u202e",
    "\u200d",
    "\u0301",
    "\u0307",
    "\ud83d",
    "\udc4d",
    "\ud83d\udc4d",
    " ",
    " ",
    "  ",
    "\u00a0",
    "\u3000",
]
STRINGS = st.lists(st.one_of(st.sampled_from([*FRAGMENTS, *CONTROLS, *OTHERS]), st.sampled_from(OLD)), max_size=60).map(
    "".join
)
HOSTILE = {
    "spaces": " " * 4096,
    "words": "cat " * 1024,
    "one word": "photo" * 819,
    "random letters": "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=4096)),
    "digits": "7" * 4096,
    "emoji": "🙂" * 4096,
    "family": "👨‍👩‍👧‍👦" * 585,
    "combining marks": "a" + "\u0301" * 4095,
    "half a pair": "\ud83d" * 4096,
    "control": "\x01\n" * 2048,
    "accents on lines": "é\n" * 2048,
    "wrongly decoded": "schÃ¶n â€œso â€ " * 256,
    "entities a thousand deep": "&" + "amp;" * 1000 + "lt; cat",
    "entities of numbers": "&" + "#38;" * 1000 + "x",
    "entities after a tag": "&amp;amp;amp;amp;amp;amp;amp;amp;amp; a\n<b>\n&" + "amp;" * 900,
    "a number that never ends": "&#" + "9" * 4090 + ";",
    "right to left": "\u202eabc\u202c \u200fשלום",
    "byte order marks": "\ufeff\ufffe a \ufeff",
    "dotted capital i": "İSTANBUL İİ",
    "final sigma": "ΑΣ ΑΣ. ΑΣΑ Σ",
    "long s": "it'ſ 'ſ ſ",
    "equals": "=" * 4096,
}


@pytest.mark.journey
@settings(max_examples=400, deadline=None, derandomize=True)
@given(STRINGS)
def test_ids_are_those_of_a_bpe_done_by_hand(text):
    tokenizer = own_vocabulary()
    assert tokenizer([text]) == [PlainTokenizer(tokenizer.merges, 77)(text)]


@pytest.mark.slow
@settings(max_examples=100_000, deadline=None, derandomize=True)
@given(STRINGS)
@pytest.mark.timeout(3600)
def test_ids_are_those_of_a_bpe_done_by_hand_a_hundred_thousand_times(text):
    tokenizer = own_vocabulary()
    assert tokenizer([text]) == [PlainTokenizer(tokenizer.merges, 77)(text)]


@pytest.mark.parametrize("context", [3, 20])
def test_ids_do_not_depend_on_what_was_read_before(context):
    fresh, used = CaptionTokenizer(own_vocabulary().merges, context=context), own_vocabulary(context)
    captions = [*CAPTIONS, *FRAGMENTS, "", " ", "cat " * 40]
    together = used(captions)
    assert together == used(captions) == [fresh([caption])[0] for caption in captions]
    assert together == [PlainTokenizer(used.merges, context)(caption) for caption in captions]


@pytest.mark.journey
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_captions_of_four_thousand_characters_have_exact_ids(kind):
    assert len(HOSTILE[kind]) <= 4096
    tokenizer = own_vocabulary()
    assert tokenizer([HOSTILE[kind]]) == [PlainTokenizer(tokenizer.merges, 77)(HOSTILE[kind])]


@pytest.mark.journey
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_megabyte_of_anything_takes_a_tenth_of_a_second_and_no_memory(kind):
    tokenizer, text = own_vocabulary(), HOSTILE[kind]
    text = (text * (1_000_000 // len(text) + 1))[:1_000_000]
    tokenizer([text[:5000]])
    pages, start = resident_pages(), time.thread_time()
    (row,) = tokenizer([text])
    assert time.thread_time() - start <= 0.1
    assert (resident_pages() - pages) * 4096 <= 32 << 20
    assert len(row) <= 77 and row[-1] == tokenizer.end
    assert tokenizer([text]) == [row]


def resident_pages():
    return int(Path("/proc/self/statm").read_text().split()[1])


def test_a_longer_caption_has_the_ids_of_its_beginning():
    tokenizer = own_vocabulary()
    long_words = "photo of the cat " * 60_000
    assert tokenizer([long_words]) == tokenizer([long_words[:4000]])
    accented = "café naïve " * 60_000
    assert tokenizer([" " * 9999 + accented]) == tokenizer([accented[: tokenizer.read_limit]])
    assert CaptionTokenizer(tokenizer.merges, context=1000).read_limit == 64_000


@pytest.mark.journey
def test_text_that_is_taken_for_harmless_is_what_ftfy_would_make_of_it():
    quiet = [letter for letter in map(chr, range(0x80, 0x3000)) if re.fullmatch(f"[{module._QUIET}]", letter)]
    beside = ["", "a", "A", "0", " ", ".", "'", "a ", ". "]
    assert len(quiet) > 900
    for letter in quiet:
        text = "\n".join(before + letter + after for before, after in product(beside, beside))
        for line, fixed in zip(text.split("\n"), ftfy.fix_text(text).split("\n"), strict=True):
            assert module._plain(line) == html.unescape(fixed), ascii(line)


def test_lone_surrogates_are_replaced_and_pairs_joined():
    assert clean("a \ud83d b") == "a \ufffd b" and clean("\ud83d\udc4d") == "👍"


def test_names_of_special_tokens_are_plain_text():
    tokenizer = own_vocabulary()
    for name in ("<|startoftext|>", "<|endoftext|>", "<start_of_text>", "<END_OF_TEXT>", "start", "end"):
        row = tokenizer([f"{name} cat"])[0]
        assert row == PlainTokenizer(tokenizer.merges, 77)(f"{name} cat")
        assert max(row[1:-1]) < tokenizer.start


@pytest.mark.journey
def test_very_many_distinct_words_leave_a_bounded_memo():
    tokenizer = CaptionTokenizer(own_vocabulary().merges, context=1000)
    for first in range(0, 250_000, 50_000):
        words = [f"w{number:x}" for number in range(first, first + 50_000)]
        tokenizer([" ".join(words[start : start + 900]) for start in range(0, len(words), 900)])
        assert len(tokenizer._ids_of) <= MEMO_ENTRIES
    before = len(tokenizer._ids_of)
    tokenizer(["x" * 25 + " " + "y" * 500])
    assert len(tokenizer._ids_of) == before, "long words are not kept"
    assert tokenizer(["the cat"]) == own_vocabulary()(["the cat"])


def test_threads_share_a_tokenizer(monkeypatch):
    monkeypatch.setattr(module, "MEMO_ENTRIES", 40)
    tokenizer, found = own_vocabulary(16), {}
    captions = [f"the cat {number} of the photo {number * 7}, naïve" for number in range(300)]

    def read(name):
        found[name] = [tokenizer([caption])[0] for caption in captions]

    threads = [threading.Thread(target=read, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [PlainTokenizer(tokenizer.merges, 16)(caption) for caption in captions]
    assert all(found[name] == expected for name in range(4))


@pytest.mark.journey
def test_ids_do_not_depend_on_the_locale(tmp_path):
    place = tmp_path / "merges.txt"
    place.write_text("\n".join(" ".join(pair) for pair in own_vocabulary().merges), encoding="utf-8")
    script = (
        "import sys; from seesay.data.tokenizer import CaptionTokenizer\n"
        "print(CaptionTokenizer.from_file(sys.argv[1])(['na\\xefve \\u0130 CAF\\xc9 \\u65e5\\u672c I']))"
    )
    answers = set()
    for language in ("C", "tr_TR.UTF-8"):
        surroundings = {
            **os.environ,
            "LC_ALL": language,
            "LANG": language,
            "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0",
        }
        surroundings["PYTHONPATH"] = os.pathsep.join(sys.path)
        words = [sys.executable, "-c", script, str(place)]
        answers.add(subprocess.run(words, check=True, capture_output=True, text=True, env=surroundings).stdout)
    assert answers == {str(own_vocabulary()(["naïve İ CAFÉ 日本 I"])) + "\n"}


def reference_tokenizer():
    """open_clip's tokenizer without the rest of open_clip, which needs torchvision."""
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        pytest.skip("open_clip is not installed: ids are not compared with it")
    spec = importlib.util.spec_from_file_location("reference_tokenizer", Path(package.origin).with_name("tokenizer.py"))
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    return reference


def clip_merges():
    if named := os.environ.get("SEESAY_CLIP_MERGES"):
        return Path(named)
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        pytest.skip("CLIP's merges are not here: set SEESAY_CLIP_MERGES or install open_clip")
    return Path(package.origin).with_name("bpe_simple_vocab_16e6.txt.gz")


def assert_words_of_the_vocabulary_are_one_id(tokenizer):
    """What `_Memo` takes for granted, by the library's own merging, for every word of printable ASCII."""
    vocabulary = tokenizer._bpe.get_vocab()
    words = [name[:-4] for name in vocabulary if name.endswith("</w>") and name[:-4].isascii() and len(name) > 4]
    assert len(words) > 100
    for word in words:
        assert [token.id for token in tokenizer._bpe.model.tokenize(word)] == [vocabulary[word + "</w>"]], word


def test_a_word_of_a_learned_vocabulary_is_one_id():
    rng = random.Random(0)
    words = ["".join(rng.choices("aab", k=rng.randint(1, 9))) for _ in range(300)]
    captions = [" ".join(rng.choices(words, k=12)) for _ in range(2000)]
    assert_words_of_the_vocabulary_are_one_id(CaptionTokenizer.train(captions, vocab_size=1200, context=16))


def test_a_word_of_clips_vocabulary_is_one_id():
    assert_words_of_the_vocabulary_are_one_id(CaptionTokenizer.from_file(clip_merges()))


def test_ids_of_clip_itself_are_as_published():
    """The golden ids were made with OpenAI's merges file (sha256 of the gz 924691ac...), outside of this project."""
    tokenizer = CaptionTokenizer.from_file(clip_merges())
    assert (tokenizer.vocab_size, tokenizer.start, tokenizer.end) == (49408, 49406, 49407)
    for caption, ids in {
        "a photo of a cat": "49406 320 1125 539 320 2368 49407",
        "a diagram": "49406 320 22697 49407",
        "a dog": "49406 320 1929 49407",
        "A photo of a Golden Retriever.": "49406 320 1125 539 320 3878 28394 269 49407",
        "hello world!": "49406 3306 1002 256 49407",
        "It's 2021 &amp; CLIP's fine": "49406 585 568 273 271 273 272 261 9289 568 3797 49407",
        'a photo of the number: "7".': "49406 320 1125 539 518 2842 281 257 278 2811 49407",
        "itap of a construction crane.": "49406 529 2728 539 320 4585 14626 269 49407",
        " ": "49406 49407",
    }.items():
        assert " ".join(map(str, tokenizer([caption])[0])) == ids, caption


def rows_of(reference, captions):
    return [row[: row.index(49407) + 1] for row in reference(captions).tolist()]


def test_ids_are_open_clips_on_hostile_captions():
    reference = reference_tokenizer()
    tokenizer = CaptionTokenizer.from_file(reference.default_bpe())
    captions = [*HOSTILE.values(), *CAPTIONS, *FRAGMENTS, *CONTROLS, *OTHERS]
    assert tokenizer(captions) == rows_of(reference.SimpleTokenizer(), captions)


def test_ids_are_open_clips_on_ten_thousand_captions():
    reference = reference_tokenizer()
    captions = []
    for place in sorted(DATA.glob("train-*/*.tar")):
        with tarfile.open(place) as tar:
            members = [member for member in tar if member.name.endswith(".txt")]
            captions += [line for member in members for line in tar.extractfile(member).read().decode().splitlines()]
    if not captions:
        pytest.skip(f"no captions in {DATA}: set SEESAY_DATA")
    chosen = random.Random(0).sample(captions, 10_000)
    tokenizer = CaptionTokenizer.from_file(reference.default_bpe())
    assert tokenizer(chosen) == rows_of(reference.SimpleTokenizer(), chosen)

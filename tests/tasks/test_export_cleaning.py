"""A tokenizer.json that cleans captions as the model does, and the list of what it does not."""

import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from seesay.base.errors import SeesayError
from seesay.data.file_tokenizer import CLEANERS, FileTokenizer
from seesay.model.hub import load
from seesay.tasks import export_files
from seesay.tasks.export_cleaning import with_cleaning
from seesay.tasks.export_files import refuse_other_ids, write_beside

HOSTILE = [
    "",
    " \t\n",
    "Caf&eacute; &amp; bar",
    "&amp;amp;lt;b&gt; 5 &lt; 6",
    "“fish’n’chips” ‘a’ „b‟",
    "ﬁne ﬂow oﬃce Ǆ ĳ ŉ",
    "ＡＢＣ １２３！ ｶﾞ ＆lt;b＆gt;",
    "a\u00a0b\u2003c\u3000d &nbsp; e&ensp;f",
    "red \x1b[31mcar\x1b[0m, zero\u200bwidth, mark\ufeff",
    "cafe\u0301 A\u030a",
    "&#233; &#xE9; &#x000e9 &#38;lt; &#65; &#039;s dog&#8217;s &rsquo;",
    "line\r\nbreak\x85\u2028end \x00\x01bell\x07",
    "AT&T R&D &copy2020 &notin; &not a &amp b 5 &gt 4",
    "ΟΔΥΣΣΕΥΣ ΣΑΣ. İstanbul STRASSE ẞ",
    "&EACUTE; &LT;b&GT; &QUOT;x &Dagger;&dagger;",
    "\x80\x93quoted\x94 snake_case, x-ray",
    "日本語の猫 🐱",
    "x" * 3000,
]


@pytest.fixture(scope="module")
def box():
    return load("box")


@pytest.mark.parametrize("to", ["onnx", "transformers.js"])
def test_the_file_has_the_ids_of_the_model_for_hostile_captions(box, to, tmp_path):
    write_beside(tmp_path, box, to)
    whole = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    whole.enable_truncation(box.tokenizer.context)
    right = box.tokenizer(HOSTILE)
    assert {text: whole.encode(text).ids for text in HOSTILE} == dict(zip(HOSTILE, right, strict=True))
    # A word as any other, but where a program looks for it as the end.
    (special,) = box.tokenizer(["<|endoftext|> a cat"])
    assert (whole.encode("<|endoftext|> a cat").ids == special) == (to == "onnx")


@pytest.mark.parametrize("cleaner", CLEANERS)
def test_a_file_of_any_vocabulary_gets_the_rules_that_lie_beside_it(cleaner):
    letters = {letter: index for index, letter in enumerate(sorted({*"".join(map(CLEANERS[cleaner], HOSTILE))}), 1)}
    plain = Tokenizer(models.BPE(vocab={"?": 0, **letters}, merges=[], unk_token="?"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    text = plain.to_str()
    right = FileTokenizer(text, context=77, cleaner=cleaner)(HOSTILE)
    assert FileTokenizer(with_cleaning(text, cleaner), context=77)(HOSTILE) == right
    assert FileTokenizer(text, context=77)(HOSTILE) != right


def test_what_is_not_cleaned_is_named_and_other_ids_are_refused(box, tmp_path):
    named = {
        to: export_files.facts_of(box, to, int8=False)["text"]["not_cleaned"] for to in ("onnx", "transformers.js")
    }
    assert "decoded wrongly" in named["onnx"][0] and len(named["transformers.js"]) == len(named["onnx"]) + 1
    write_beside(tmp_path, box, "onnx")
    refuse_other_ids(box, tmp_path, HOSTILE)
    whole = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole | {"normalizer": None}), encoding="utf-8")
    with pytest.raises(
        SeesayError, match=r"nothing is written: tokenizer\.json has other ids than box of \d+ of 18 texts"
    ):
        refuse_other_ids(box, tmp_path, HOSTILE)

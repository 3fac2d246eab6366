"""A tokenizer.json is followed to the letter, cut to the context, and refused where it is none."""

import json
from collections.abc import Callable

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from seesay.base.errors import RefusedInput
from seesay.data.file_tokenizer import FileTokenizer, from_json
from seesay.data.tokenizer import CaptionTokenizer

VOCABULARY = {"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 3, "red": 4, "dog": 5}


@pytest.fixture
def text() -> str:
    whole = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    whole.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    whole.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    whole.enable_padding(length=50)
    whole.enable_truncation(3)
    return whole.to_str(pretty=True)


def test_ids_are_the_files_and_cut_with_the_end_kept(text: str):
    tokenizer = FileTokenizer(text, context=4)
    assert tokenizer(["a red dog", "", "a cat", "red " * 9]) == [[3, 4, 5, 1], [1], [3, 2, 1], [4, 4, 4, 1]]
    assert (tokenizer.vocab_size, tokenizer.context) == (6, 4)
    batch = tokenizer.tokens(["a red dog", ""])
    assert batch.ids_BL.tolist() == [[3, 4, 5, 1], [1, 0, 0, 0]] and batch.length_B.tolist() == [4, 1]
    assert (tokenizer.id_of("dog"), tokenizer.token_of(5), tokenizer.id_of("cat")) == (5, "dog", None)
    assert tokenizer.decode([3, 4]) == "a red"


def test_a_text_of_a_million_letters_or_half_a_character_is_no_trouble(text: str):
    tokenizer = FileTokenizer(text, context=4)
    assert tokenizer(["a red " * 200_000, "x" * 1_000_000, "\ud800 a"]) == [[3, 4, 3, 1], [2, 1], [2, 3, 1]]
    with pytest.raises(TypeError, match="caption 1 is int"):
        tokenizer(["a", 3])  # type: ignore[list-item]


def test_a_tokenizer_comes_back_from_json_whatever_its_kind(text: str):
    tokenizer = FileTokenizer(text, context=4)
    again = from_json(json.loads(json.dumps(tokenizer.to_json())))
    assert isinstance(again, FileTokenizer) and again.to_json() == tokenizer.to_json()
    clips = CaptionTokenizer.train(["a dog"], vocab_size=514, context=4)
    assert from_json(clips.to_json()).to_json() == clips.to_json()


def rewritten(change: Callable[[dict], object]) -> Callable[[str], str]:
    def rewrite(text: str) -> str:
        value = json.loads(text)
        change(value)
        return json.dumps(value)

    return rewrite


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[:-20],
        lambda text: "[]",
        rewritten(lambda value: value["model"].update(type="Unheard")),
        rewritten(lambda value: value["model"].update(unk_token="gone")),
        # Inside the library this one is a panic.
        rewritten(lambda value: value["post_processor"].update(special_tokens={})),
    ],
)
def test_what_is_no_tokenizer_or_fails_on_captions_is_refused(change, text: str, capfd):
    with pytest.raises(RefusedInput, match=r"cannot be read .* fetch it again"):
        FileTokenizer(change(text), context=4)


def test_a_context_that_specials_fill_is_refused(text: str):
    with pytest.raises(RefusedInput, match="fills a context of 1"):
        FileTokenizer(text, context=1)

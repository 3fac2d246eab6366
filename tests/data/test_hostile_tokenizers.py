"""A tokenizer.json that is damaged or made to hurt is refused with its name, and captions have to be in a list."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from seesay.base.errors import RefusedInput
from seesay.data.file_tokenizer import FileTokenizer
from seesay.data.tokenizer import CaptionTokenizer


def clips(where: str = "", value: object = None) -> str:
    """CLIP's own form with four merges, one place of it changed."""
    tokenizer = CaptionTokenizer([("a", "t</w>"), ("c", "at</w>"), ("d", "o"), ("do", "g</w>")], context=8)
    model = json.loads(tokenizer._bpe.to_str())["model"]
    model["vocab"] |= {"<|startoftext|>": tokenizer.start, "<|endoftext|>": tokenizer.end}
    document = {"model": model}
    if where:
        *sections, key = where.split(".")
        place: Any = document
        for section in sections:
            place = place[section]
        place[int(key) if isinstance(place, list) else key] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"model":' * 100_000,
        '{"model": {"vocab": {}, "merges": [' + "[" * 900 + "]" * 900 + "]}}",
        *(clips("model.vocab", value) for value in ([], "x", None)),
        *(
            clips("model.merges.3", value)
            for value in (["a", 1], [["a"], "b"], [None, None], 7, None, {"a": 1, "b": 2})
        ),
        *(clips("model.merges", value) for value in (None, "a b", {"a b": 1})),
        clips("model", "BPE"),
        clips("model.type", "WordPiece"),
        clips("model.end_of_word_suffix", None),
        clips("model.end_of_word_suffix", "@@"),
        clips("model.vocab.<|startoftext|>", 3),
        clips("model.vocab.<|endoftext|>", None),
    ],
    ids=lambda text: text[-40:],
)
def test_a_hostile_tokenizer_json_is_refused_with_its_name(text: str, tmp_path: Path):
    path = tmp_path / "tokenizer.json"
    path.write_text(text)
    with pytest.raises(RefusedInput, match=r"tokenizer\.json") as refused:
        CaptionTokenizer.from_file(path)
    assert len(str(refused.value)) < 500 + len(str(path))


def test_the_unchanged_form_is_read(tmp_path: Path):
    (tmp_path / "tokenizer.json").write_text(clips())
    assert CaptionTokenizer.from_file(tmp_path / "tokenizer.json").merges[1] == ("c", "at</w>")


def words() -> Tokenizer:
    whole = Tokenizer(models.WordLevel({"</s>": 0, "<unk>": 1, "dog": 2}, unk_token="<unk>"))
    whole.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return whole


def test_specials_beyond_the_table_are_refused_when_the_file_is_read():
    whole = words()
    whole.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 5000)])
    with pytest.raises(RefusedInput, match="puts id 5000 into captions and has 3 tokens"):
        FileTokenizer(whole.to_str(), context=8)


@pytest.mark.parametrize("kind", ["merges", "file"])
def test_a_caption_in_place_of_a_list_of_them_is_refused(kind: str):
    tokenizer = CaptionTokenizer([], context=8) if kind == "merges" else FileTokenizer(words().to_str(), context=8)
    for call in (tokenizer, tokenizer.tokens):
        with pytest.raises(TypeError, match="a list of captions"):
            call("abc")

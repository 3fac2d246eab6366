"""Tokenizers of RoBERTa's and NLLB's kinds, beside those of `../2026-11-28-families/kinds.py`."""

from pathlib import Path

from tokenizers import ByteLevelBPETokenizer, Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

WORDS = ["a red dog", "a blue dog", "two red cats on a blue mat"] * 3
SPECIALS = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}


def roberta(folder: Path) -> None:
    """Byte pairs between `<s>` and `</s>`."""
    whole = ByteLevelBPETokenizer()
    whole.train_from_iterator(WORDS, vocab_size=300, special_tokens=list(SPECIALS.values()), show_progress=False)
    inner = whole._tokenizer
    inner.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    PreTrainedTokenizerFast(tokenizer_object=inner, **SPECIALS).save_pretrained(folder)


def nllb(folder: Path) -> None:
    """Pieces with a mark in front, behind the token of a language and before `</s>`."""
    whole = Tokenizer(models.Unigram())
    whole.pre_tokenizer = pre_tokenizers.Metaspace()
    names = [*SPECIALS.values(), "eng_Latn"]
    trainer = trainers.UnigramTrainer(vocab_size=70, special_tokens=names, unk_token="<unk>", show_progress=False)  # noqa: S106 - a token
    whole.train_from_iterator(WORDS, trainer)
    ends = [("eng_Latn", names.index("eng_Latn")), ("</s>", names.index("</s>"))]
    whole.post_processor = processors.TemplateProcessing(single="eng_Latn $A </s>", special_tokens=ends)
    PreTrainedTokenizerFast(tokenizer_object=whole, **SPECIALS).save_pretrained(folder)

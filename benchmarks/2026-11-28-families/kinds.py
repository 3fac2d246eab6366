"""Tokenizers of the kinds that CLIPs have, written by transformers' own classes."""

import gzip
from pathlib import Path

import open_clip
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPTokenizer, PreTrainedTokenizerFast

WORDS = ["a red dog", "a blue dog", "two red cats on a blue mat"] * 3


def clips_own(folder: Path) -> None:
    """CLIP's, from the merges that open_clip carries."""
    path = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    merges = gzip.decompress(path.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    pairs = [tuple(merge.split()) for merge in merges]
    symbols = list(open_clip.tokenizer.bytes_to_unicode().values())
    words = [*symbols, *(symbol + "</w>" for symbol in symbols), *map("".join, pairs)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    CLIPTokenizer(vocab={word: index for index, word in enumerate(words)}, merges=pairs).save_pretrained(folder)


def unigram(folder: Path) -> None:
    """As T5's, which SigLIP's is: pieces with a mark in front, `</s>` at the end."""
    whole = Tokenizer(models.Unigram())
    whole.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    whole.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = {"pad_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>"}
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=["<pad>", "</s>", "<unk>"], unk_token=specials["unk_token"], show_progress=False
    )
    whole.train_from_iterator(WORDS, trainer)
    whole.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=whole, **specials)
    fast.save_pretrained(folder)


def xlm(folder: Path) -> None:
    """As XLM-R's and XLM-V's: pieces with a mark in front, between `<s>` and `</s>`."""
    whole = Tokenizer(models.Unigram())
    whole.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    whole.pre_tokenizer = pre_tokenizers.Metaspace()
    words = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=list(words.values()), unk_token=words["unk_token"], show_progress=False
    )
    whole.train_from_iterator(WORDS, trainer)
    whole.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    PreTrainedTokenizerFast(tokenizer_object=whole, **words).save_pretrained(folder)


def bert(folder: Path) -> None:
    """As BERT's: pieces of words in lower case, between `[CLS]` and `[SEP]`."""
    words = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    whole = Tokenizer(models.WordPiece(unk_token=words["unk_token"]))
    whole.normalizer = normalizers.BertNormalizer(lowercase=True)
    whole.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=70, special_tokens=list(words.values()), show_progress=False)
    whole.train_from_iterator(WORDS, trainer)
    whole.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=whole, **words).save_pretrained(folder)

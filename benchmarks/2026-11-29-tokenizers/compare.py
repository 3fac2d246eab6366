# ruff: noqa: E501
"""Token ids of every family of vocabularies beside the peers' own tokenizers. See README.md.

python compare.py DATA OUT          DATA holds folders of WebDataset tars with .txt members
"""

import gzip
import json
import random
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

# isort: off
import tvshim  # noqa: F401  (the two operators that torchvision's wheel lacks beside a CPU torch)

# isort: on
import open_clip
import sentencepiece
import transformers
from hostile import HOSTILE
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from seesay.data.tokenizer import CaptionTokenizer, fixed
from seesay.model.layouts.hf_tokenizer import read_file_tokenizer

SETS = ("train-flickr8k", "train-rsicd", "train-openstax", "train-openstax2", "train-fashion", "train-ikea", "train-nlvr",
        "train-emoji", "train-everyday")  # fmt: skip
COUNT, LEARNED, CONTEXT = 20_000, 8_000, 64
LEARNED_FROM = 3_000


def captions_of(data: Path) -> list[str]:
    """20,000 distinct captions of real sets, in a random order that is always the same."""
    lines: set[str] = set()
    for name in SETS:
        for path in sorted((data / name).glob("*.tar")):
            with tarfile.open(path) as tar:
                for member in tar:
                    if member.name.endswith(".txt"):
                        lines.update(tar.extractfile(member).read().decode().splitlines())
    found = sorted(line for line in lines if line.strip())
    random.Random(0).shuffle(found)
    return found[:COUNT]


def clips_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    path = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    merges = gzip.decompress(path.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    pairs = [tuple(merge.split()) for merge in merges]
    symbols = list(open_clip.tokenizer.bytes_to_unicode().values())
    words = [
        *symbols,
        *(symbol + "</w>" for symbol in symbols),
        *map("".join, pairs),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    return {word: index for index, word in enumerate(words)}, pairs


def unigram(captions: list[str], specials: list[str]) -> list[tuple[str, float]]:
    """A vocabulary by the trainer of the tokenizers library."""
    whole = Tokenizer(models.Unigram())
    whole.normalizer = normalizers.NFKC()
    whole.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=LEARNED,
        special_tokens=specials,
        unk_token=specials[-1] if "<mask>" not in specials else specials[3],
        show_progress=False,
    )
    whole.train_from_iterator(captions[:LEARNED_FROM], trainer)
    return [(piece, score) for piece, score in json.loads(whole.to_str())["model"]["vocab"]]


def word_pieces(captions: list[str]) -> dict[str, int]:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    whole = Tokenizer(models.WordPiece(unk_token=specials[1]))
    whole.normalizer = normalizers.BertNormalizer(lowercase=True)
    whole.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    whole.train_from_iterator(
        captions[:LEARNED_FROM],
        trainers.WordPieceTrainer(vocab_size=LEARNED, special_tokens=specials, show_progress=False),
    )
    return whole.get_vocab()


def spiece(captions: list[str], folder: Path) -> None:
    """SigLIP's kind: a `spiece.model` by sentencepiece itself, and the tokenizer.json that transformers makes of it."""
    folder.mkdir()
    (folder / "captions.txt").write_text("\n".join(captions))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "captions.txt"), model_prefix=str(folder / "spiece"), vocab_size=LEARNED, pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    transformers.T5Tokenizer.from_pretrained(folder, extra_ids=0).save_pretrained(folder)
    specials = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
    config = {"tokenizer_class": "SiglipTokenizer", "model_max_length": CONTEXT, "do_lower_case": True, **specials}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def filled(rows: list[list[int]], pad: int, context: int) -> list[list[int]]:
    return [row + [pad] * (context - len(row)) for row in rows]


def compare(ours: Callable, theirs: Callable, texts: list[str]) -> tuple[int, list[str], list[str]]:
    """How many are equal, those that differ, and those that the peer does not take."""
    different, refused, equal = [], [], 0
    for first in range(0, len(texts), 500):
        block = texts[first : first + 500]
        try:
            pairs = list(zip(ours(block), theirs(block), strict=True))
        except Exception:  # noqa: BLE001  (one by one: the peers raise of many kinds)
            pairs = []
            for text in block:
                try:
                    pairs.append((ours([text])[0], theirs([text])[0]))
                except Exception as error:  # noqa: BLE001
                    pairs.append((None, None))
                    refused.append(f"{text[:40]!r}: {type(error).__name__}")
        for text, (one, other) in zip(block, pairs, strict=True):
            if one is not None and list(one) == list(other):
                equal += 1
            elif one is not None:
                different.append(text)
    return equal, different, refused


def families(captions: list[str], out: Path) -> dict[str, tuple[Callable, Callable]]:
    """Name -> (our rows of ids, the peer's), both filled up to the context."""
    vocabulary, merges = clips_vocabulary()
    clip = CaptionTokenizer(merges, context=77)
    simple = SimpleTokenizer(context_length=77)
    transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77).save_pretrained(out / "clip")
    hf_clip = transformers.AutoTokenizer.from_pretrained(out / "clip")
    whole_clip, _ = read_file_tokenizer(out / "clip", None, context=77)
    end = vocabulary["<|endoftext|>"]

    def padded(texts: list[str]) -> list[list[int]]:
        return hf_clip(texts, padding="max_length", max_length=77, truncation=True)["input_ids"]

    spiece(captions, out / "siglip")
    siglip_own = transformers.SiglipTokenizer(str(out / "siglip" / "spiece.model"))
    siglip, siglip_pad = read_file_tokenizer(out / "siglip", None, context=CONTEXT)
    found = {
        "CLIP, open_clip's SimpleTokenizer": (lambda texts: filled(clip(texts), 0, 77), lambda texts: simple(texts).tolist()),
        "CLIP, transformers' CLIPTokenizer (read as CLIP's own)": (lambda texts: filled(clip(texts), end, 77), padded),
        "CLIP, transformers' CLIPTokenizer (its tokenizer.json, as for added tokens)": (
            lambda texts: filled(whole_clip(texts), end, 77), padded,
        ),
        "SigLIP, transformers' SiglipTokenizer on spiece.model": (
            lambda texts: filled(siglip(texts), siglip_pad, CONTEXT),
            lambda texts: siglip_own(texts, padding="max_length", max_length=CONTEXT, truncation=True)["input_ids"],
        ),
    }  # fmt: skip
    roberta = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pieces, words = unigram(captions, ["<pad>", "</s>", "<unk>"]), word_pieces(captions)
    classes = {
        "XLM-R": (transformers.XLMRobertaTokenizer(vocab=unigram(captions, roberta)), "whitespace", None),
        "mT5": (transformers.T5Tokenizer(vocab=pieces, extra_ids=0), "whitespace", None),
        "SigLIP of open_clip (canonicalize)": (transformers.T5Tokenizer(vocab=pieces, extra_ids=0), "canonicalize", None),
        "BERT": (transformers.BertTokenizer(vocab=words), "whitespace", None),
        "BERT of CLIPA (strip_sep_token)": (transformers.BertTokenizer(vocab=words), "whitespace", "sep_token"),
    }  # fmt: skip
    for name, (whole, cleaner, blank) in classes.items():
        folder = out / name.split(" (")[0].replace(" ", "-")
        whole.save_pretrained(folder)
        ours, pad = read_file_tokenizer(folder, None, context=CONTEXT, cleaner=cleaner, is_blank=blank)
        peer = HFTokenizer(str(folder), context_length=CONTEXT, clean=cleaner, strip_sep_token=blank is not None)
        found[f"{name}, open_clip's HFTokenizer"] = (
            lambda texts, ours=ours, pad=pad: filled(ours(texts), pad, CONTEXT),
            lambda texts, peer=peer: peer(texts).tolist(),
        )
    return found


def main() -> None:
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    captions = captions_of(data)
    rows = {"captions": len(captions), "hostile strings": len(HOSTILE), "families": {}}
    for name, (ours, theirs) in families(captions, out).items():
        entry = {}
        for kind, texts in (("captions", captions), ("hostile", HOSTILE)):
            equal, different, refused = compare(ours, theirs, texts)
            entry[kind] = {"equal": equal, "of": len(texts), "different": [ascii(text[:60]) for text in different[:40]],
                           "of these changed by ftfy or html.unescape": sum(fixed(text) != text for text in different),
                           "not taken by the peer": refused}  # fmt: skip
        rows["families"][name] = entry
        print(name, *(f"{kind}: {each['equal']:,} of {each['of']:,}" for kind, each in entry.items()), flush=True)
        (out / "result.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

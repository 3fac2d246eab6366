"""The tokenizer files that lie beside foreign weights: read into CLIP's BPE, and written for others to read."""

import hashlib
import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from seesay.base.errors import RefusedInput
from seesay.data.tokenizer import END, PIECES, START, WORD_END, CaptionTokenizer, _vocabulary
from seesay.model.layouts.config_file import read_json
from seesay.model.layouts.hf_tokenizer import CLIPS_CLASS

# In the order they are looked for: the whole tokenizer of Hugging Face, its list of merges, OpenAI's.
FILE_NAMES = ("tokenizer.json", "merges.txt", "bpe_simple_vocab_16e6.txt")
CLIP_MERGES_SHA256 = "d308b7377a8ceaa9707a21614fe8c831b9196e197b7aeb69833359362907af02"


def read_tokenizer(folder: Path, given: Path | None, *, context: int) -> CaptionTokenizer:
    """CLIP's BPE from the file `given`, or else from the folder; `RefusedInput` if there is none.

    The vocabulary is never taken from anywhere else: weights of another vocabulary would load and answer nonsense.
    """
    path = given or next((folder / name for name in FILE_NAMES if (folder / name).is_file()), None)
    if path is None:
        raise RefusedInput(
            f"{folder} holds no vocabulary ({', '.join(FILE_NAMES)}), and seesay carries none; "
            "put the model's own beside its weights, or name the file with tokenizer=."
        )
    try:
        tokenizer = CaptionTokenizer.from_file(path, context=context)
    except UnicodeDecodeError as error:
        raise RefusedInput(f"{path} is no text ({error.reason}); unpack it or name another vocabulary.") from error
    vocabulary = path.with_name("vocab.json")
    if path.name == "merges.txt" and vocabulary.is_file():
        found, expected = read_json(vocabulary), _ids_of(tokenizer)
        other = next((name for name in expected | found if found.get(name) != expected.get(name)), None)
        if other is not None:
            raise RefusedInput(
                f"{vocabulary} does not go with {path.name}: its {other[:40]!r} is {found.get(other)!r:.40}, "
                f"not {expected.get(other)}."
            )
    return tokenizer


def _ids_of(tokenizer: CaptionTokenizer) -> dict[str, int]:
    return _vocabulary(tokenizer.merges) | {START: tokenizer.start, END: tokenizer.end}


def is_clips_own(tokenizer: CaptionTokenizer) -> bool:
    """Whether these are the 48,894 merges that OpenAI released."""
    return hashlib.sha256(_merge_lines(tokenizer).encode()).hexdigest() == CLIP_MERGES_SHA256


def tokenizer_files(tokenizer: CaptionTokenizer) -> dict[str, bytes]:
    """The same vocabulary in every form that transformers and open_clip look for."""
    vocabulary = _ids_of(tokenizer)
    specials = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    config = {
        "tokenizer_class": CLIPS_CLASS,
        "model_max_length": tokenizer.context,
        "do_lower_case": True,
        "add_prefix_space": False,
        **specials,
    }
    return {
        "tokenizer.json": _whole(tokenizer, vocabulary).to_str(pretty=False).encode(),
        "vocab.json": json.dumps(vocabulary, ensure_ascii=False).encode(),
        "merges.txt": ("#version: 0.2\n" + _merge_lines(tokenizer)).encode(),
        "tokenizer_config.json": (json.dumps(config, indent=2) + "\n").encode(),
        "special_tokens_map.json": (json.dumps(specials, indent=2) + "\n").encode(),
    }


def _merge_lines(tokenizer: CaptionTokenizer) -> str:
    return "".join(f"{first} {second}\n" for first, second in tokenizer.merges)


def _whole(tokenizer: CaptionTokenizer, vocabulary: dict[str, int]) -> Tokenizer:
    """As transformers builds it for CLIP: NFC and lower case in place of ftfy, the same pieces and merges."""
    whole = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=list(tokenizer.merges),
            continuing_subword_prefix="",
            end_of_word_suffix=WORD_END,
            unk_token=END,
        )
    )
    whole.add_special_tokens([START, END])
    whole.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    whole.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    whole.post_processor = processors.RobertaProcessing(
        (END, tokenizer.end), (START, tokenizer.start), trim_offsets=False, add_prefix_space=False
    )
    return whole

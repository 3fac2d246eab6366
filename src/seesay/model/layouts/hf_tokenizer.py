"""`tokenizer.json` and `tokenizer_config.json`, in which transformers keeps a vocabulary of any kind.

Some of its classes have rules of their own beside the file: what they do to a text before it, and which specials they
put around the ids. These are written into the tokenizer that is read, so that it says all of it itself, and is the same
wherever it is saved and loaded again.
"""

import json
import string
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from tokenizers import Regex, Tokenizer, normalizers, processors

from seesay.base.errors import RefusedInput
from seesay.data.bpe_file import read_text
from seesay.data.file_tokenizer import FileTokenizer, parsed
from seesay.data.tokenizer import END, CaptionTokenizer
from seesay.model.layouts.config_file import checked_as, read_json

FILE_NAME = "tokenizer.json"
CONFIG_NAME = "tokenizer_config.json"
# Classes that put padding in front unless the file says where.
PADS_IN_FRONT = ("GemmaTokenizer", "Siglip2Tokenizer")
CLIPS_CLASS = "CLIPTokenizer"
# The word of CLIP's id 0.
FIRST = "!"


class _Special(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    content: str


class _Config(BaseModel):
    """What decides about ids."""

    model_config = ConfigDict(strict=True, extra="ignore")

    tokenizer_class: str | None = None
    do_lower_case: bool | None = None
    add_bos_token: bool | None = None
    add_eos_token: bool | None = None
    bos_token: str | _Special | None = None
    eos_token: str | _Special | None = None
    pad_token: str | _Special | None = None
    sep_token: str | _Special | None = None
    padding_side: str | None = None
    truncation_side: str | None = None

    @property
    def kind(self) -> str:
        """The name of the class, without the "Fast" of older versions."""
        return (self.tokenizer_class or "").removesuffix("Fast")


def read_file_tokenizer(
    folder: Path,
    given: Path | None,
    *,
    context: int,
    cleaner: str | None = None,
    is_blank: str | None = None,
    end: int | None = None,
) -> tuple[FileTokenizer, int]:
    """The tokenizer in the file `given`, or else in the folder, and the id that fills captions up.

    The rules of its program are as in `FileTokenizer`; `is_blank` names the token. Its configuration is the one beside
    it, else the folder's.
    `RefusedInput` if a file is missing or says something that cannot be followed.
    """
    path = given or folder / FILE_NAME
    if not path.is_file():
        raise RefusedInput(
            f"{path} is missing, and a spiece.model or tokenizer.model alone is not read; put the model's "
            "tokenizer.json beside its weights, or name the file with tokenizer=."
        )
    beside = path.with_name(CONFIG_NAME)
    config_path = beside if beside.is_file() else folder / CONFIG_NAME
    config = checked_as(_Config, read_json(config_path), path=config_path)
    side = config.padding_side or ("left" if config.kind in PADS_IN_FRONT else "right")
    if side != "right" or config.truncation_side not in (None, "right"):
        raise RefusedInput(
            f"{config_path} fills captions up in front (padding_side) or cuts their beginning (truncation_side); no "
            "SigLIP was trained so, and seesay does neither: set both to right if that is what the model wants."
        )
    try:
        whole = _with_rules(parsed(read_text(path)), config)
        blank = _id(whole, getattr(config, is_blank), is_blank) if is_blank else None
        tokenizer = FileTokenizer(whole.to_str(), context=context, cleaner=cleaner, blank=blank, end=end)
        return tokenizer, _id(tokenizer, config.pad_token, "pad_token")
    except RefusedInput as error:
        raise RefusedInput(f"{path}: {error}") from error


def _with_rules(tokenizer: Tokenizer, config: _Config) -> Tokenizer:
    """The tokenizer with the rules of its class written into it; rules it has already change nothing."""
    is_siglip = config.kind == "SiglipTokenizer"
    before: list[normalizers.Normalizer] = []
    lower = config.do_lower_case
    if lower or (lower is None and config.kind in ("SiglipTokenizer", "Siglip2Tokenizer")):
        before.append(normalizers.Lowercase())
    if is_siglip:
        # big_vision's `_canonicalize_text`, which that class applies in Python.
        before.append(normalizers.Replace(Regex(f"[{_escaped(string.punctuation)}]"), ""))
        before += [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    if before:
        own = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
        tokenizer.normalizer = normalizers.Sequence([*before, *own])
    if is_siglip or config.add_bos_token is not None or config.add_eos_token is not None:
        first = [(config.bos_token, "bos_token")] if config.add_bos_token else []
        last = [(config.eos_token, "eos_token")] if is_siglip or config.add_eos_token else []
        specials = [(_content(token, name), _id(tokenizer, token, name)) for token, name in (*first, *last)]
        words = [word for word, _ in specials]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[*words[: len(first)], "$A", *words[len(first) :]], special_tokens=specials
        )
    return tokenizer


def _escaped(characters: str) -> str:
    return "".join(f"\\{character}" for character in characters)


def _content(token: str | _Special | None, name: str) -> str:
    if token is None:
        raise RefusedInput(f"its {CONFIG_NAME} has no {name}; fetch the model again.")
    return token if isinstance(token, str) else token.content


def _id(tokenizer: Tokenizer | FileTokenizer, token: str | _Special | None, name: str) -> int:
    word = _content(token, name)
    found = tokenizer.id_of(word) if isinstance(tokenizer, FileTokenizer) else tokenizer.token_to_id(word)
    if found is None:
        raise RefusedInput(f"{name} is {word[:40]!r} in its {CONFIG_NAME}, which is none of its tokens.")
    return found


def refuse_other_than_clips(folder: Path) -> None:
    """`RefusedInput` if the folder's configuration is of another tokenizer than CLIP's; none is as good as CLIP's."""
    path = folder / CONFIG_NAME
    if not path.is_file():
        return
    config = checked_as(_Config, read_json(path), path=path)
    if config.kind not in ("", CLIPS_CLASS):
        fault = f"tokenizer_class is {config.tokenizer_class!r:.60}, not {CLIPS_CLASS}"
    elif config.do_lower_case is False:
        fault = "do_lower_case is false, and CLIP's tokenizer reads lower case"
    else:
        return
    raise RefusedInput(
        f"{path}: {fault}, the only one seesay has for such towers; if they were trained with CLIP's all the same, "
        "name its vocabulary's file with tokenizer=."
    )


def clips_padding(folder: Path, tokenizer: CaptionTokenizer) -> int:
    """The id that fills captions up where transformers' class for CLIP's vocabulary does it, by the folder's file.

    `RefusedInput` for a token that is neither the end nor CLIP's first, which published folders have.
    """
    path = folder / CONFIG_NAME
    token = checked_as(_Config, read_json(path), path=path).pad_token if path.is_file() else None
    word = END if token is None else _content(token, "pad_token")
    ids = {END: tokenizer.vocab_size - 1, FIRST: 0}
    if word not in ids:
        raise RefusedInput(f"{path}: pad_token is {word[:40]!r}; seesay knows {END!r} and {FIRST!r} of such towers.")
    return ids[word]


def file_tokenizer_files(tokenizer: FileTokenizer, *, pad: int) -> dict[str, bytes]:
    """The two files, for transformers' class that adds no rules to them."""
    ending = tokenizer([""])[0][-1:]
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": tokenizer.context,
        "model_input_names": ["input_ids"],
        "padding_side": "right",
        "truncation_side": "right",
        "clean_up_tokenization_spaces": False,
        "pad_token": tokenizer.token_of(pad),
    }
    if ending:
        config["eos_token"] = tokenizer.token_of(ending[0])
    return {
        FILE_NAME: tokenizer.text.encode(),
        CONFIG_NAME: (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode(),
    }

"""The messages and words that several commands have in common, beside the tables of `base.values`."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seesay.base.errors import TooManySkipped, UsageError
from seesay.base.streams import say as say
from seesay.base.values import percent as percent
from seesay.base.values import table as table
from seesay.base.values import with_interval as with_interval

if TYPE_CHECKING:
    from seesay.tasks.probe_result import ProbeResult

# What a folder holds that is a model, in the layouts of this package, of transformers and of open_clip, or a run, of
# fine-tuning also one that recommends none: its error names the models in it.
MODEL_FILES = ("model.json", "config.json", "open_clip_config.json", "model/model.json", "finetune.json")
# The ends of files that hold weights: safetensors, and the names that PyTorch's pickles go by.
MODEL_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
# How --json names standard output.
DASH = Path("-")
# The share of samples that may be skipped before a command ends with exit code 3; a guess.
ALLOWED_SKIPPED = 0.05


def counts_of(shots: str | None, *, least: int = 1) -> tuple[int, ...]:
    """The numbers of a word such as 1,2,4, from `least` on; `UsageError` for anything else."""
    words = [word.strip() for word in shots.split(",")] if shots is not None else []
    # Nine digits are more images than a class of anybody's has, and Python reads no more than 4,300.
    if not all(word.isdecimal() and len(word) <= 9 and int(word) >= least for word in words):
        raise UsageError(
            f"--shots {shots!r} should be numbers of {least} or more with commas between, as in 1,2,4,8,16."
        )
    return tuple(int(word) for word in words)


def refuse_unwritable_json(path: Path | None) -> None:
    """`UsageError` or `StorageError` for what --json cannot be written to; - is standard output."""
    from seesay.base.publish import refuse_unwritable_file

    if path != DASH:
        refuse_unwritable_file(path, "--json", ending=".json")


def write_json(path: Path, value: Any) -> None:
    """Write plain values as a JSON file, durably and whole, and name it; `StorageError` where the disk refuses."""
    from seesay.base.publish import publish_file

    text = json.dumps(value, indent=2) + "\n"
    if path == DASH:
        sys.stdout.write(text)
    else:
        publish_file(path, text.encode())
        say(f"numbers: {path}")


def show(text: str, json_file: Path | None) -> None:
    """Write lines for people to standard output, or to standard error where the other has the JSON alone."""
    if json_file != DASH:
        sys.stdout.write(text)
    elif text:
        say(*text.splitlines())


def refuse_too_many(skipped: int, total: int, what: str, *, allowed: float = ALLOWED_SKIPPED) -> None:
    """Raise `TooManySkipped` where more than the share `allowed` was left out; to be called after all is written."""
    if skipped > allowed * total:
        raise TooManySkipped(
            f"{skipped} of {total} {what} were skipped, more than {100 * allowed:.4g}%; "
            "the results hold for the rest: fix or remove the broken files and run it again."
        )


def refuse_skipped_of_probe(result: "ProbeResult") -> None:
    """`TooManySkipped` where too many images of both its sets were left out."""
    total = result.skipped + result.n + result.n_train
    refuse_too_many(result.skipped, total, f"images of {result.train} and {result.set_name}")


def is_model(word: str) -> bool:
    """Whether a word names a model rather than a set; nothing is loaded."""
    from seesay.data.hub_sets import is_hub_set
    from seesay.model.known_models import HUB_PREFIXES, known_source

    path = Path(word)
    if path.is_dir():
        return any((path / name).is_file() for name in MODEL_FILES)
    if path.is_file():
        return path.suffix in MODEL_SUFFIXES
    return (word.startswith(HUB_PREFIXES) and not is_hub_set(word)) or known_source(word) is not None


def swapped(what: str, *command: str) -> UsageError:
    """The error for words in another order than the command's, which is shown in the right one."""
    return UsageError(f"{what}; did you mean: {shlex.join(['seesay', *command])}")


def refuse_data_first(verb: str, model: str, data: str) -> None:
    """`UsageError` where the data stands before the model."""
    if Path(model).exists() and not is_model(model) and is_model(data):
        raise swapped(f"{model!r} is no model, and the model comes first", verb, data, model)


def refuse_words_first(verb: str, photos: Path, words: str | None) -> None:
    """`UsageError` where words stand before the photos they are about."""
    if words is not None and not photos.exists() and Path(words).exists():
        raise swapped(f"there is no {str(photos)!r}, and photos come first", verb, words, str(photos))

"""JSON that came with weights: bounded, parsed and checked before anything is made of it."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from seesay.base import bounded
from seesay.base.errors import RefusedInput, StorageError
from seesay.base.wording import should_be

# Values of a description, which takes more memory while it is checked (a guess): a vocabulary of 100,000 is there.
VALUE_LIMIT = 1 << 20

# Pydantic's names of faults that make it the description of another kind of model, and no damaged one.
OTHER_MODELS = ("extra_forbidden", "literal_error", "none_required")

ModelT = TypeVar("ModelT", bound=BaseModel)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; `RefusedInput` if it is missing, too large or no object."""
    try:
        if not path.is_file():
            raise RefusedInput(f"{path} is missing; the model folder is incomplete, save or fetch it again.")
        value = bounded.read_json(path, limit=VALUE_LIMIT)
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}); allow it or fix the disk.") from error
    if not isinstance(value, dict):
        raise RefusedInput(f"{path} holds no JSON object; save or fetch the model again.")
    return value


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of a folder of transformers; `RefusedInput` if it names code that comes with the weights."""
    config = read_json(path)
    if config.get("auto_map"):
        raise RefusedInput(
            f"{path} wants code of its own to be run (auto_map is {config['auto_map']!r:.60}), which seesay never "
            "does; take a checkpoint for the classes of transformers itself."
        )
    return config


def checked_as(cls: type[ModelT], value: object, *, path: Path) -> ModelT:
    """`value` from the file `path` as a `cls`; `RefusedInput` names the first key that does not fit."""
    try:
        # Through JSON, because strictness then still lets a list be a tuple.
        return cls.model_validate_json(json.dumps(value))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        way_out = "save or fetch the model again"
        if first["type"] == "missing":
            fault = f" has no {where}"
        elif first["type"] in OTHER_MODELS:
            # Nothing is wrong with the file.
            fault, way_out = f": {where} is {first['input']!r:.40}", "seesay has no such part, and reads no such model"
        else:
            fault = f": {where} is {first['input']!r:.40}, but {should_be(first)}"
        raise RefusedInput(f"{path}{fault}; {way_out}.") from error
    except ValueError as error:
        raise RefusedInput(f"{path} holds text that is no Unicode ({error}); fetch it again.") from error

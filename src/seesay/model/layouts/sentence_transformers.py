"""The folder of a `SentenceTransformer`: a list of modules, of which the first is transformers' CLIP.

Up to its version 2 that lies in a folder of its own, `0_CLIPModel/`, later beside the list.
"""

import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from seesay.base import bounded
from seesay.base.errors import RefusedInput, StorageError

MODULES = "modules.json"
# The last names of classes that hold a CLIP, and of those behind it that change no direction.
CLIPS, HARMLESS = ("CLIPModel", "Transformer"), ("Normalize",)


class _Module(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    path: str
    type: str

    @property
    def name(self) -> str:
        return self.type.rpartition(".")[2]


_MODULES = TypeAdapter(Annotated[list[_Module], Field(min_length=1, max_length=64)])


def clip_folder(folder: Path) -> Path:
    """Where the model lies: the folder itself, or the one in it that its list of modules names.

    `RefusedInput` for a list with more than a CLIP, whose rows would be others.
    """
    path = folder / MODULES
    if not path.is_file():
        return folder
    try:
        first, *others = _MODULES.validate_python(bounded.read_json(path))
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}); allow it or fix the disk.") from error
    except ValidationError as error:
        raise RefusedInput(f"{path} is no list of modules of a SentenceTransformer; fetch it again.") from error
    more = [module.name for module in others if module.name not in HARMLESS]
    if first.name not in CLIPS or more:
        names = ", ".join(module.name for module in (first, *others))
        raise RefusedInput(
            f"{path} is a SentenceTransformer of {names[:80]}; seesay reads a CLIP alone, and its rows would be others."
        )
    if not re.fullmatch(r"(?:[A-Za-z0-9_-]+[A-Za-z0-9._-]*)?", first.path):
        raise RefusedInput(f"{path} has its CLIP in {first.path[:80]!r}, which is no folder beside it; fetch it again.")
    return folder / first.path

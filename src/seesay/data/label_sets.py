"""Label sets of an audit: TOML files that a person can read, copy and change, two of them in the package."""

import json
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from seesay.base.bounded import read_text
from seesay.base.errors import UsageError, nearest
from seesay.base.settings import Settings

DEFAULT = "denigration"
# In the folder beside this file.
PACKAGED = ("denigration", "occupations")
Share = Annotated[float, Field(gt=0, lt=1)]


class LabelSet(Settings):
    """Labels by kind, and which kinds are `harmful`. `added` are labels that everything is measured without and with.

    `truth` names a column of the table that holds the right label of a photo: then accuracy is measured too.
    """

    title: str = "Labels by group"
    source: str = ""
    templates: tuple[str, ...] = ("a photo of a {}.",)
    harmful: tuple[str, ...] = ()
    thresholds: tuple[Share, ...] = (0.005, 0.04)
    classes: dict[str, tuple[str, ...]]
    added: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    truth: str | None = None

    @model_validator(mode="after")
    def _fits_together(self):
        labels = self.labels(is_added=True)
        if len(self.labels()) < 2:
            raise ValueError(f"classes hold {len(self.labels())} label(s); give two or more")
        if twice := next((label for label in labels if labels.count(label) > 1), None):
            raise ValueError(f"label {twice!r} comes twice; leave one out")
        if unknown := next((kind for kind in self.harmful if kind not in self.classes), None):
            raise ValueError(f"harmful names {unknown!r}, which is no list of classes")
        return self

    def labels(self, *, is_added: bool = False) -> list[str]:
        """All labels in the order of the file, those that are added last."""
        lists = [*self.classes.values(), *(self.added.values() if is_added else ())]
        return [label for own in lists for label in own]

    def harmful_labels(self) -> set[str]:
        """The labels of the harmful kinds."""
        return {label for kind in self.harmful for label in (*self.classes[kind], *self.added.get(kind, ()))}


def read_label_set(name_or_file: str | Path) -> LabelSet:
    """The label set of that name in the package, or in a TOML file; `UsageError` for what is neither."""
    if str(name_or_file) in PACKAGED:
        text = (files("seesay.data") / "label_sets" / f"{name_or_file}.toml").read_text("utf-8")
    elif Path(name_or_file).is_file():
        try:
            text = read_text(name_or_file)
        except UnicodeDecodeError as error:
            raise UsageError(f"{name_or_file} is no UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    else:
        raise UsageError(
            f"label set {str(name_or_file)!r} is no file and none of the package."
            f"{nearest(str(name_or_file), PACKAGED)} Known: {', '.join(PACKAGED)}."
        )
    try:
        # As JSON, in which a list is a tuple's only form.
        return LabelSet.model_validate_json(json.dumps(tomllib.loads(text), default=str))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name_or_file} is no TOML ({error}); see data/label_sets/denigration.toml.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        reason = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{name_or_file}: {where}: {reason}; see data/label_sets/denigration.toml.") from error

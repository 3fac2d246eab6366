"""What an audit reads beside photos: a table of their groups, and label sets as TOML files.

Label sets can be read, copied and changed; two are in the package. N = photos.
"""

import io
import json
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from seesay.base.bounded import read_text
from seesay.base.errors import RefusedInput, UsageError, nearest
from seesay.base.records import Skipped
from seesay.base.settings import Settings
from seesay.data.table_rows import IMAGE_COLUMNS, delimiter_of
from seesay.data.text_rows import Lines, text_rows

NAME_COLUMNS = ("photo", *IMAGE_COLUMNS, "name")
# A column with more values is no column of groups but of names or numbers (a guess).
MOST_GROUPS = 50


@dataclass(frozen=True, kw_only=True)
class GroupTable:
    """The values of each column by the name of a photo, as the table has it."""

    source: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]]

    def of_photos(self, photos: Sequence[Path], folder: Path) -> list[Mapping[str, str] | None]:
        """The row of each photo by its path below `folder`, as it is or by its bare name; None for one without.

        `UsageError` where a bare name in the table is that of several photos.
        """
        bare = Counter(photo.name for photo in photos)
        relatives = names_below(folder, photos)
        found = []
        for photo, relative in zip(photos, relatives, strict=True):
            row = self.rows.get(relative) or self.rows.get(photo.as_posix())
            # A bare name is that of the photo at the top, where there is one.
            if row is None and photo.name in self.rows and photo.name not in relatives:
                if bare[photo.name] > 1:
                    raise UsageError(
                        f"{self.source} names {photo.name!r}, and {bare[photo.name]} photos are called that; "
                        "write their paths below the folder."
                    )
                row = self.rows[photo.name]
            found.append(row)
        return found


def names_below(folder: Path, photos: Sequence[Path]) -> list[str]:
    """What each photo is called in a table: its path below the folder, or its whole path where it lies elsewhere."""
    return [
        photo.relative_to(folder).as_posix() if photo.is_relative_to(folder) else photo.as_posix() for photo in photos
    ]


def read_group_table(path: str | Path) -> GroupTable:
    """The table in a CSV, or TSV, file: names in a column photo, file or such, else in the first one.

    `UsageError` for what cannot be read or has no column of groups, `RefusedInput` for a photo that comes twice.
    """
    numbered = list(_rows_of(Path(path)))
    (_, head), *rows = numbered or [(1, [])]
    if len(head) < 2 or not rows:
        raise UsageError(f"{path} has no column of groups or no rows; give photo,GROUP,... and a row for each photo.")
    if twice := next((name for name, count in Counter(head).items() if count > 1), None):
        raise RefusedInput(f"{path} has several columns {twice!r}; give each a name of its own.")
    names = next((index for index, name in enumerate(head) if name.lower() in NAME_COLUMNS), 0)
    found: dict[str, Mapping[str, str]] = {}
    for number, row in rows:
        if len(row) != len(head):
            raise RefusedInput(
                f"{path}, line {number} has {len(row)} cells and the first row {len(head)}; make them as many."
            )
        if row[names] in found:
            raise RefusedInput(f"{path}, line {number}: photo {row[names]!r} comes twice; leave one row out.")
        found[row[names]] = {name: cell for name, cell in zip(head, row, strict=True) if name != head[names]}
    return GroupTable(source=str(path), columns=tuple(name for name in head if name != head[names]), rows=found)


def _rows_of(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The number of the line and the cells of every row that is not empty, as tables of pairs are read."""
    try:
        text = read_text(path, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); name a CSV file of photos and groups.") from error
    problems: list[Skipped] = []
    for number, fields in text_rows(Lines(io.StringIO(text), problems), delimiter_of(text.partition("\n")[0])):
        if fields is None or problems:
            raise RefusedInput(f"{path}, line {number}: a quote is not closed, or the line is too long; repair it.")
        if any(map(str.strip, fields)):
            yield number, [cell.strip() for cell in fields]


DEFAULT = "denigration"
# What all harmful kinds together are called.
ANY_HARM = "harmful"
# In the folder beside this file.
PACKAGED = ("denigration", "occupations")
LIKE = f"one that fits is {files('seesay.data') / 'label_sets' / 'occupations.toml'}"
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
        if len(self.harmful) > 1 and ANY_HARM in self.harmful:
            raise ValueError(f"harmful has a list called {ANY_HARM!r}, as all of them together are; rename it")
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
        raise UsageError(f"{name_or_file} is no TOML ({error}); {LIKE}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        reason = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{name_or_file}: {where}: {reason}; {LIKE}.") from error

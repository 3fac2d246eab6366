"""Which groups photos belong to: a table with a column of file names and any columns of groups. N = photos."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seesay.base.bounded import read_text
from seesay.base.errors import RefusedInput, UsageError
from seesay.data.table_rows import IMAGE_COLUMNS

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
        found = []
        for photo in photos:
            relative = photo.relative_to(folder).as_posix() if photo.is_relative_to(folder) else photo.as_posix()
            row = self.rows.get(relative) or self.rows.get(photo.as_posix())
            if row is None and photo.name in self.rows:
                if bare[photo.name] > 1:
                    raise UsageError(
                        f"{self.source} names {photo.name!r}, and {bare[photo.name]} photos are called that; "
                        "write their paths below the folder."
                    )
                row = self.rows[photo.name]
            found.append(row)
        return found


def read_group_table(path: str | Path) -> GroupTable:
    """The table in a CSV, or TSV, file: names in a column photo, file or such, else in the first one.

    `UsageError` for what cannot be read or has no column of groups, `RefusedInput` for a photo that comes twice.
    """
    try:
        text = read_text(path, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); name a CSV file of photos and groups.") from error
    lines = csv.reader(text.splitlines(), delimiter="\t" if Path(path).suffix.lower() == ".tsv" else ",")
    head, *rows = [[cell.strip() for cell in row] for row in lines if any(map(str.strip, row))] or [[]]
    if len(head) < 2 or not rows:
        raise UsageError(f"{path} has {len(head)} columns and {len(rows)} photos; give photo,GROUP,... and their rows.")
    if twice := next((name for name, count in Counter(head).items() if count > 1), None):
        raise RefusedInput(f"{path} has several columns {twice!r}; give each a name of its own.")
    names = next((index for index, name in enumerate(head) if name.lower() in NAME_COLUMNS), 0)
    found: dict[str, Mapping[str, str]] = {}
    for number, row in enumerate(rows, 2):
        if len(row) != len(head):
            raise RefusedInput(
                f"{path}, row {number} has {len(row)} cells and the first row {len(head)}; make them as many."
            )
        if row[names] in found:
            raise RefusedInput(f"{path}, row {number}: photo {row[names]!r} comes twice; leave one row out.")
        found[row[names]] = {name: cell for name, cell in zip(head, row, strict=True) if name != head[names]}
    return GroupTable(source=str(path), columns=tuple(name for name in head if name != head[names]), rows=found)

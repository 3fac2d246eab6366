"""IM2GPS, where photos were taken: test/ and reference/, each with photos below it and a table of where they are.

Hays and Efros 2008 publish 237 photos without a table; those of others have a row for each with IMG_ID, LAT and LON
(im2gps_places365.csv, mp16_places365.csv). The paper's reference are a million photos of its own.
"""

from pathlib import Path

import numpy as np

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.records import Skipped
from seesay.data.paper_sets.files import read_table
from seesay.data.paper_sets.images import LocatedSet
from seesay.data.sources import IMAGE_SUFFIXES, LooseFile, count_reasons, files_below, split_suffix

COLUMNS = {
    "photo": ("img_id", "id", "file", "filename", "file_name", "image", "photo", "path"),
    "latitude": ("lat", "latitude"),
    "longitude": ("lon", "lng", "long", "longitude"),
}
TEST, REFERENCE = "test", "reference"


def open_im2gps(folder: Path) -> LocatedSet:
    """Both parts; test photos that are not there are problems, of the others their number is said.

    `UsageError` where a part has none.
    """
    keys: list[str] = []
    images: list[LooseFile] = []
    degrees: list[tuple[float, float]] = []
    problems: list[Skipped] = []
    tests, lost = 0, list[Skipped]()
    for part in (TEST, REFERENCE):
        before = len(images)
        lost = []
        for name, image, where in _located(folder / part, lost):
            keys.append(f"{part}/{name}")
            images.append(image)
            degrees.append(where)
        problems += lost if part == TEST else []
        tests = tests or len(images)
        if len(images) == before:
            why = count_reasons(lost) or "the table is empty"
            raise UsageError(f"not one photo of the table in {str(folder / part)!r} is there: {why}.")
    return LocatedSet(
        name="im2gps",
        keys=keys,
        images=images,
        problems=problems,
        notes=(f"{len(images) - tests:,} reference photos, {len(lost):,} not there; the paper has 1,000,000.",),
        degrees_N2=np.array(degrees),
        tests=tests,
    )


def _located(folder: Path, problems: list[Skipped]) -> list[tuple[str, LooseFile, tuple[float, float]]]:
    """The photos of a part by their path in the table, with latitude and longitude."""
    tables = sorted(folder.glob("*.csv")) if folder.is_dir() else []
    if len(tables) != 1:
        found = f"{len(tables)} tables" if folder.is_dir() else "not there"
        raise UsageError(f"{str(folder)!r} is to have photos and one .csv with IMG_ID, LAT and LON; it has {found}.")
    size_of = dict(files_below(folder, problems))
    path_of = {name.rpartition("/")[2]: name for name in size_of if split_suffix(name)[1] in IMAGE_SUFFIXES}
    found = []
    for line, row in read_table(tables[0], COLUMNS):
        # The photo at that path, or wherever one of that name lies.
        name = row["photo"] if row["photo"] in size_of else path_of.get(row["photo"].rpartition("/")[2], "")
        try:
            where = float(row["latitude"]), float(row["longitude"])
        except ValueError:
            where = np.nan, np.nan
        if not (abs(where[0]) <= 90 and abs(where[1]) <= 360):
            raise RefusedInput(
                f"line {line} of {tables[0]} has {row['latitude']!r}, {row['longitude']!r} for degrees of latitude and "
                "longitude; correct it, or take the line out."
            )
        if not size_of.get(name):
            problems.append(Skipped(key=row["photo"], reason="missing file"))
        else:
            found.append((name, LooseFile(str((folder / name).absolute()), size_of[name]), where))
    return found

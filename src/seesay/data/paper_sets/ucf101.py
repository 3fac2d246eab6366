"""UCF101 as Soomro et al. 2012 have it: UCF-101/CLASS/*.avi, and classInd.txt and testlist01.txt in ucfTrainTestlist/.

Measured on the first of its three splits. In place of a video may stand a folder of its frames.
"""

import re
from pathlib import Path

from seesay.base.bounded import read_entries
from seesay.base.errors import RefusedInput, UsageError
from seesay.base.records import Skipped
from seesay.data.clips import FRAMES
from seesay.data.labelled import Labelled, LabelledSet
from seesay.data.sources import count_reasons, split_suffix
from seesay.data.videos import clips_below

LISTS = "ucfTrainTestlist"


def open_ucf101(folder: Path, *, part: str = "test") -> LabelledSet:
    """The clips of a part; those that are not there are problems. `UsageError` where none is left."""
    lists = folder / LISTS if (folder / LISTS).is_dir() else folder
    listed = lists / f"{part}list01.txt"
    if missing := [path.name for path in (lists / "classInd.txt", listed) if not path.is_file()]:
        raise UsageError(f"{str(folder)!r} has no {missing[0]}; name the folder with UCF-101/ and {LISTS}/.")
    classes = [line.split()[-1] for line in read_entries(lists / "classInd.txt")]
    found = clips_below(folder)
    by_end = {"/".join(stem.split("/")[-2:]): make for stem, make in found.whole().items()}
    samples, problems = [], list(found.problems)
    for line in read_entries(listed):
        key = line.split()[0]
        name = key.partition("/")[0]
        if name not in classes:
            raise RefusedInput(f"{listed} has {key!r}, but {name!r} is no class of classInd.txt; fetch both again.")
        make = by_end.get(split_suffix(key)[0])
        if make is None:
            problems.append(Skipped(key=key, reason="missing video"))
        else:
            samples.append(Labelled(key, classes.index(name), make()))
    if not samples:
        raise UsageError(
            f"not one clip of {listed.name} is below {str(folder)!r}: {count_reasons(problems) or 'it is empty'}."
        )
    # ApplyEyeMakeup is "Apply Eye Makeup", as the paper has it.
    names = [re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name) for name in classes]
    note = f"{FRAMES} frames of each clip are averaged, of the first of three splits."
    name = "ucf101" if part == "test" else f"ucf101/{part}"
    return LabelledSet(name, names, samples=samples, problems=problems, notes=(note,) if part == "test" else ())

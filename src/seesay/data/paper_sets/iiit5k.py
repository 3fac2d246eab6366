"""IIIT5K, words in photos, as Mishra et al. 2012 have it: test/*.png, and testdata.mat with a lexicon for each.

An image is to be read as one of the 1,000 words of its lexicon (mediumLexi), which has the right one.
"""

from pathlib import Path
from typing import Any

import numpy as np

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.records import Skipped
from seesay.data.paper_sets.files import file_at, read_mat
from seesay.data.paper_sets.images import LexiconSet
from seesay.data.sources import count_reasons

# The paper's own is not published; this one is made as those of its other sets of text.
TEMPLATE = 'a photo of the word: "{}".'


def open_iiit5k(folder: Path) -> LexiconSet:
    """The test images; `RefusedInput` for a testdata.mat without the fields of the publisher's."""
    path = folder / "testdata.mat"
    rows = read_mat(path, "testdata").reshape(-1)
    if not {"ImgName", "GroundTruth", "mediumLexi"} <= set(rows.dtype.names or ()):
        raise RefusedInput(f"{path} lacks ImgName, GroundTruth or mediumLexi; take that of IIIT5K-Word_V3.0.")
    # Capitals do not count, as in the publisher's measure.
    number_of: dict[str, int] = {}
    keys, images, lexicons, labels, problems = [], [], [], [], []
    for row in rows:
        key, word = _text(row["ImgName"]), _text(row["GroundTruth"]).lower()
        own = dict.fromkeys(_text(item).lower() for item in row["mediumLexi"].reshape(-1))
        image = file_at(folder / key)
        if isinstance(image, Skipped):
            problems.append(image)
        elif word not in own:
            problems.append(Skipped(key=key, reason="its word is not in its lexicon"))
        else:
            keys.append(key)
            images.append(image)
            lexicons.append(np.array([number_of.setdefault(each, len(number_of)) for each in own]))
            labels.append(number_of[word])
    if not images:
        raise UsageError(f"not one image of {path} is there: {count_reasons(problems) or 'it is empty'}.")
    return LexiconSet(
        name="iiit5k",
        keys=keys,
        images=images,
        templates=(TEMPLATE,),
        problems=problems,
        words=tuple(number_of),
        lexicons=tuple(lexicons),
        label=tuple(labels),
    )


def _text(value: Any) -> str:
    """A text in as many arrays as MATLAB puts around it."""
    while isinstance(value, np.ndarray):
        value = value.reshape(-1)[0] if value.size else ""
    return str(value)

"""Hateful Memes as Kiela et al. 2020 have it: img/*.png, and dev.jsonl, of objects with "id", "img" and "label".

Measured on dev, as the paper does, by the area under the ROC curve; train.jsonl is to learn from.
"""

from pathlib import Path

from seesay.base.bounded import parse_json, read_entries
from seesay.base.errors import RefusedInput, UsageError
from seesay.base.records import Skipped
from seesay.data.labelled import Labelled, LabelledSet
from seesay.data.paper_sets.files import file_at
from seesay.data.sources import count_reasons

# The paper's names of classes 0 and 1.
CLASSES = ("meme", "hatespeech meme")
# As the two publications of the set call them, the first that is there.
PARTS = {"test": ("dev.jsonl", "dev_seen.jsonl"), "train": ("train.jsonl",)}


def open_hateful_memes(folder: Path, *, part: str = "test") -> LabelledSet:
    """The memes of a part; those whose image is not there are problems. `UsageError` where none is left."""
    path = next((folder / name for name in PARTS[part] if (folder / name).is_file()), None)
    if path is None:
        raise UsageError(f"{str(folder)!r} has no {PARTS[part][0]}; name the folder with {PARTS[part][0]} and img/.")
    samples, problems = [], []
    for number, line in enumerate(read_entries(path), start=1):
        row = parse_json(line, source=f"line {number} of {path}")
        name, label = (row.get("img"), row.get("label")) if isinstance(row, dict) else (None, None)
        if not isinstance(name, str) or label not in (0, 1):
            raise RefusedInput(f'line {number} of {path} has no "img" with a "label" of 0 or 1; take dev, not test.')
        image = file_at(folder / name)
        if isinstance(image, Skipped):
            problems.append(image)
        else:
            samples.append(Labelled(name, label, image))
    if not samples:
        raise UsageError(f"not one meme of {path} is there: {count_reasons(problems) or 'it is empty'}.")
    name = "hateful_memes" if part == "test" else f"hateful_memes/{part}"
    return LabelledSet(name, CLASSES, samples=samples, problems=problems)

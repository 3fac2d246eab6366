"""Kinetics-700 in a folder per class, as its downloaders leave it: val/CLASS/*.mp4, or these folders of classes alone.

In place of a video may stand a folder of its frames.
"""

from pathlib import Path

from seesay.base.errors import UsageError
from seesay.base.records import Skipped
from seesay.data.clips import FRAMES
from seesay.data.labelled import Labelled, LabelledSet
from seesay.data.sources import count_reasons
from seesay.data.videos import clips_below

PARTS = ("val", "validate", "validation", "test")


def open_kinetics(folder: Path) -> LabelledSet:
    """The clips of the validation part, each of the class that its folder is called; `UsageError` where none is."""
    part = next((folder / name for name in PARTS if (folder / name).is_dir()), folder)
    found = clips_below(part)
    problems = list(found.problems)
    make = found.whole()
    problems += [Skipped(key=stem, reason="video outside a class folder") for stem in make if "/" not in stem]
    stems = sorted(stem for stem in make if "/" in stem)
    if not stems:
        why = count_reasons(problems) or "there is no video"
        raise UsageError(
            f"{str(part)!r} has no folder of videos per class ({why}); name the folder with val/CLASS/*.mp4."
        )
    classes = sorted({stem.partition("/")[0] for stem in stems})
    samples = [Labelled(stem, classes.index(stem.partition("/")[0]), make[stem]()) for stem in stems]
    names = [name.replace("_", " ") for name in classes]
    notes = [f"{FRAMES} frames of each clip are averaged; the paper takes all."]
    if len(classes) != 700:
        notes.append(f"{len(classes)} classes are there, of 700: fewer are easier to tell apart.")
    return LabelledSet("kinetics700", names, samples=samples, problems=problems, notes=notes)

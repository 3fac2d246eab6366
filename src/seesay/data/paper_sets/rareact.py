"""RareAct, unusual actions such as "blend phone", as Miech et al. 2020 have it: rareact.csv, and its videos below.

A row of the table has a clip (video_id, start, end), a class (class_id, verb, noun) and what is seen of it
(annotation): 1 the action; 2 its verb alone, 3 its noun alone, 4 both but not together; 0 neither. A video is called by
its video_id; video_id_START_END is a clip that was cut out of it, or a folder of its frames.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.records import Skipped
from seesay.data.clips import FRAMES, Clip
from seesay.data.paper_sets.files import read_table
from seesay.data.paper_sets.images import ActionSet
from seesay.data.sources import count_reasons
from seesay.data.videos import clips_below

TABLE = "rareact.csv"
COLUMNS = {name: (name,) for name in ("video_id", "start", "end", "class_id", "verb", "noun", "annotation")}
# The paper's own is not published.
TEMPLATE = "a photo of a person trying to {}."


def open_rareact(folder: Path) -> ActionSet:
    """The clips and rows whose video is there; the others are problems. `UsageError` where none is left."""
    path = folder / TABLE
    if not path.is_file():
        raise UsageError(f"{str(folder)!r} has no {TABLE}; name the folder with it and the videos.")
    clip_of, problems = _finder(folder)
    clips: dict[str, Clip] = {}
    lost: dict[str, Skipped] = {}
    clip_numbers, class_numbers, videos = dict[str, int](), dict[str, int](), dict[str, int]()
    actions: list[tuple[str, str]] = []
    rows = []
    for line, row in read_table(path, COLUMNS):
        key = f"{row['video_id']}_{row['start']}_{row['end']}"
        if row["class_id"] not in class_numbers:
            class_numbers[row["class_id"]] = len(actions)
            actions.append((row["verb"], row["noun"]))
        try:
            clip = clips.get(key) or clip_of(row["video_id"], row["start"], row["end"])
            seen = range(5).index(int(row["annotation"]))
        except ValueError as error:
            raise RefusedInput(f"line {line} of {path} is not as RareAct's ({error}); fetch it again.") from error
        if clip is None:
            lost[key] = Skipped(key=key, reason="missing video", detail=f"line {line}")
            continue
        clips[key] = clip
        number = clip_numbers.setdefault(key, len(clip_numbers))
        rows.append((number, videos.setdefault(row["video_id"], len(videos)), class_numbers[row["class_id"]], seen))
    problems += lost.values()
    if not rows:
        raise UsageError(f"not one video of {path} is there: {count_reasons(problems) or 'the table is empty'}.")
    clip_N, video_N, class_N, annotation_N = np.array(rows).T
    return ActionSet(
        name="rareact",
        keys=list(clips),
        images=list(clips.values()),
        templates=(TEMPLATE,),
        problems=problems,
        notes=(f"{FRAMES} frames of each clip are averaged.",),
        actions=tuple(actions),
        clip_N=clip_N,
        video_N=video_N,
        class_N=class_N,
        annotation_N=annotation_N,
    )


def _finder(folder: Path) -> tuple[Callable[[str, str, str], Clip | None], list[Skipped]]:
    """What gives the clip of a video between two seconds, None where there is none; and the problems of the folder."""
    found = clips_below(folder)
    whole = {stem.rpartition("/")[2]: make for stem, make in found.whole().items()}
    videos = {stem.rpartition("/")[2]: make for stem, make in found.videos.items()}

    def clip_of(video: str, start: str, end: str) -> Clip | None:
        first, last = float(start), float(end)
        if cut := whole.get(f"{video}_{start}_{end}"):
            return cut()
        return videos[video](start=first, end=last) if video in videos else None

    return clip_of, list(found.problems)

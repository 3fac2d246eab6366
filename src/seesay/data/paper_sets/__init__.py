"""Sets of Radford et al. 2021 as their publishers lay them out, one file per set.

Written NAME:FOLDER, as svhn:data/svhn, with a name of `READERS`. Most are images or clips with a class each, as any
labelled set; a `PaperSet` is measured in a way of its own, which `seesay evaluate` alone knows. What CLIP_benchmark has
on the Hugging Face hub, and every set that has a folder per class, needs no reader: `data/known_sets.json` has all.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from seesay.base.errors import UsageError
from seesay.data.labelled import LabelledSet
from seesay.data.paper_sets.hateful_memes import open_hateful_memes
from seesay.data.paper_sets.iiit5k import open_iiit5k
from seesay.data.paper_sets.im2gps import open_im2gps
from seesay.data.paper_sets.images import PaperSet
from seesay.data.paper_sets.kinetics import open_kinetics
from seesay.data.paper_sets.rareact import open_rareact
from seesay.data.paper_sets.svhn import open_svhn
from seesay.data.paper_sets.ucf101 import open_ucf101
from seesay.data.sources import missing_location

# The files of a folder that show whose layout it is.
MARKS = {
    "testdata.mat": "iiit5k",
    "test_32x32.mat": "svhn",
    "rareact.csv": "rareact",
    "classInd.txt": "ucf101",
    "ucfTrainTestlist": "ucf101",
}
READERS: Mapping[str, Callable[[Path], LabelledSet | PaperSet]] = {
    "iiit5k": open_iiit5k,
    "svhn": open_svhn,
    "hateful_memes": open_hateful_memes,
    "ucf101": open_ucf101,
    "kinetics700": open_kinetics,
    "rareact": open_rareact,
    "im2gps": open_im2gps,
}
# Where the file lies that a part to learn from is made of, and its reader.
TRAIN_PARTS: Mapping[str, tuple[tuple[str, ...], Callable[..., LabelledSet]]] = {
    "svhn": (("train_32x32.mat",), open_svhn),
    "hateful_memes": (("train.jsonl",), open_hateful_memes),
    "ucf101": (("ucfTrainTestlist/trainlist01.txt", "trainlist01.txt"), open_ucf101),
}


def is_paper_set(source: str | Path) -> bool:
    """Whether a source is written NAME:FOLDER with the name of a reader."""
    name, colon, folder = str(source).partition(":")
    return name in READERS and bool(colon and folder)


def name_of_paper_set(source: str | Path) -> str:
    """The name before the colon."""
    return str(source).partition(":")[0]


def folder_of(source: str | Path) -> Path:
    """The folder behind the colon; `UsageError` where there is none of that name."""
    name, _, rest = str(source).partition(":")
    folder = Path(rest).expanduser()
    if not folder.exists():
        raise missing_location(folder)
    if not folder.is_dir():
        raise UsageError(f"{rest} is a file; name the folder that has the files of {name} as they were unpacked.")
    return folder


def open_paper_set(source: str | Path) -> LabelledSet | PaperSet:
    """The set that is written so; `UsageError` for a folder that is laid out otherwise, in one line that says how."""
    return READERS[name_of_paper_set(source)](folder_of(source))


def open_paper_train_part(source: str | Path) -> LabelledSet | None:
    """What may be learned from before the set is measured; None where its publisher, or the folder, has none."""
    places, opener = TRAIN_PARTS.get(name_of_paper_set(source), ((), None))
    folder = folder_of(source)
    is_there = any((folder / place).exists() for place in places)
    return opener(folder, part="train") if opener is not None and is_there else None


def refuse_paper_layout(folder: Path) -> None:
    """`UsageError` for a folder of a publisher that is given without the name of its reader."""
    for mark, name in MARKS.items():
        if (folder / mark).exists():
            raise UsageError(f"{str(folder)!r} has {mark!r}, as {name} does; name it {name}:{folder}.")

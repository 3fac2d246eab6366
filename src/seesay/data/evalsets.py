"""Sets to be judged on: images with a class each, or images with captions."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from seesay.base.bounded import read_text, split_lines
from seesay.base.errors import RefusedInput, UsageError
from seesay.base.records import PairSource, Skipped
from seesay.data.class_names import named_by_number
from seesay.data.drawn_sets import is_drawn_set, open_drawn_set
from seesay.data.folders import PARTS, TEST, TRAIN, VALIDATION, name_of, tables_with_captions, tars_in
from seesay.data.hub_sets import is_hub_set, read_name
from seesay.data.labelled import Labelled, LabelledSet
from seesay.data.pairs import has_columns, on_disk, open_pairs
from seesay.data.paper_sets import (
    is_paper_set,
    name_of_paper_set,
    open_paper_set,
    open_paper_train_part,
    refuse_paper_layout,
)
from seesay.data.parquet_sets import open_hub_set, open_train_split
from seesay.data.prompts import checked
from seesay.data.shards import ShardSample, read_shard
from seesay.data.sources import (
    FOREIGN_SUFFIXES,
    IMAGE_SUFFIXES,
    LooseFile,
    count_reasons,
    files_below,
    is_left_alone,
    split_suffix,
)

CLASS_NAMES = "classnames.txt"
TEMPLATES = "zeroshot_classification_templates.txt"


def open_evalset(
    source: str | Path, *, image_column: str | None = None, caption_column: str | None = None
) -> LabelledSet | PairSource:
    """The labelled or captioned set that `source` names.

    Labelled: a folder with classnames.txt (line 0 names class 0) and .tar shards, there, in test/ or in val/, that hold
    KEY.jpg and KEY.cls with a class number, and perhaps zeroshot_classification_templates.txt; or a folder with one
    folder of images per class, or with parts (train/, val/, test/) of such folders, of which test/ counts, else val/.
    What most images in folders are decides: a caption beside one of many does not make them pairs. Captioned: whatever
    `open_pairs` opens, and a folder with test/*.tar; the columns are those of a table. Either: a data set of the
    Hugging Face hub, as `hub_sets` says. limits:NAME is drawn on the spot (`drawn_sets`), and svhn:FOLDER is a set of
    the paper as its publisher has it (`paper_sets`). A source that is neither is a `UsageError`; labels that contradict
    the class names are `RefusedInput`.
    """
    (source,) = on_disk(source)
    if is_hub_set(source):
        return open_hub_set(source)
    if is_drawn_set(source):
        return open_drawn_set(source)
    if is_paper_set(source):
        found = open_paper_set(source)
        if not isinstance(found, LabelledSet):
            raise UsageError(f"{source} has measures of its own, and no classes; only `seesay evaluate` takes it.")
        return found
    folder = Path(source)
    columns = {"image_column": image_column, "caption_column": caption_column}
    columns = columns if any(columns.values()) and has_columns(folder, columns) else {}
    if not folder.is_dir():
        return open_pairs([source], **columns)
    refuse_paper_layout(folder)
    tars = tars_in(folder) or _tars_of(folder, TEST) or _tars_of(folder, VALIDATION)
    if (folder / CLASS_NAMES).is_file():
        return _open_labelled_shards(folder, tars)
    if tars:
        return open_pairs([tars[0].parent])
    problems: list[Skipped] = []
    files = dict(files_below(folder, problems))
    if _has_class_folders(files) and not _has_captions(folder, files):
        return _open_parts(folder, files) or _open_class_folders(folder, files, problems=problems)
    return open_pairs([folder], **columns)


def name_of_set(source: str | Path) -> str:
    """The name of a set, known without opening it."""
    if is_drawn_set(source):
        return str(source)
    if is_paper_set(source):
        return name_of_paper_set(source)
    return read_name(source).name if is_hub_set(source) else name_of(source)


def open_train_part(source: str | Path) -> LabelledSet | None:
    """What may be learned from before a labelled set is measured: train/ beside its test/, as tars or class folders.

    Of a set of the hub it is the split "train". None where there is none. Classes of tars are those of the set's
    classnames.txt. Raises what `open_evalset` does.
    """
    if is_hub_set(source):
        return open_train_split(source)
    if is_drawn_set(source):
        return open_drawn_set(source, is_train=True)
    if is_paper_set(source):
        return open_paper_train_part(source)
    folder = Path(source)
    if (folder / CLASS_NAMES).is_file():
        tars = _tars_of(folder, TRAIN)
        return _open_labelled_shards(folder, tars, name=f"{name_of(folder)}/train") if tars else None
    parts = _parts_of(dict(files_below(folder, []))) if folder.is_dir() else {}
    if TRAIN not in parts:
        return None
    return _open_class_folders(folder / parts[TRAIN], name=f"{name_of(folder)}/train")


def open_learned(source: str | Path) -> LabelledSet | PairSource:
    """What is learned from: the train part of a labelled set that has one, which is noted, else all of it.

    A set of the hub is the split that is named. Raises what `open_evalset` does.
    """
    part = None if is_hub_set(source) else open_train_part(source)
    if part is None:
        return open_evalset(source)
    part.notes = (f"{part.name} is learned from, its other parts are not.", *part.notes)
    return part


def _tars_of(folder: Path, part: str) -> list[Path]:
    return tars_in(folder / part) if (folder / part).is_dir() else []


def _parts_of(files: dict[str, int]) -> dict[str, str]:
    """Part -> the folder that holds it, where most images lie in class folders inside at least two parts, else none."""
    paths = [name.split("/") for name in files if split_suffix(name)[1] in IMAGE_SUFFIXES]
    inside = [path[0] for path in paths if len(path) > 2 and path[0].lower() in PARTS]
    parts = {PARTS[folder.lower()]: folder for folder in sorted(set(inside))}
    return parts if len(parts) > 1 and len(inside) > len(paths) / 2 else {}


def _open_parts(folder: Path, files: dict[str, int]) -> LabelledSet | None:
    """The part of a set that is measured; images beside the parts are problems. None where there are no parts."""
    parts = _parts_of(files)
    if not parts:
        return None
    measured = parts.get(TEST) or parts[VALIDATION]
    others = ", ".join(f"{name}/" for name in sorted(parts.values()) if name != measured)
    note = f"{measured}/ is measured, {others} {'are' if ',' in others else 'is'} not."
    beside = [
        Skipped(key=name, reason="image outside the parts")
        for name in files
        if split_suffix(name)[1] in IMAGE_SUFFIXES and name.split("/")[0] not in parts.values()
    ]
    return _open_class_folders(folder / measured, name=name_of(folder), beside=beside, note=note)


def _open_labelled_shards(folder: Path, tars: list[Path], *, name: str = "") -> LabelledSet:
    if not tars:
        raise UsageError(f"{str(folder)!r} has {CLASS_NAMES} but no .tar, neither there nor in test/ or val/.")
    class_names, notes = named_by_number(_read_class_names(folder / CLASS_NAMES))
    templates = None
    if (folder / TEMPLATES).is_file():
        # CLIP_benchmark, whose layout this is, writes {c} where everybody else writes {}.
        lines = [
            line.strip().replace("{c}", "{}")
            for line in split_lines(_text_of(folder / TEMPLATES), source=folder / TEMPLATES)
        ]
        templates = checked([line for line in lines if line], str(folder / TEMPLATES))
    samples: list[Labelled] = []
    problems: list[Skipped] = []
    for tar in tars:
        for sample in read_shard(tar, ("cls",), problems=problems):
            outcome = _labelled_or_problem(sample, len(class_names))
            if isinstance(outcome, Labelled):
                samples.append(outcome)
            else:
                problems.append(outcome)
    if not samples:
        reasons = count_reasons(problems) or "no KEY.jpg with KEY.cls beside it"
        raise UsageError(f"No labelled image in the {len(tars)} .tar of {str(folder)!r}: {reasons}.")
    name = name or name_of(folder)
    return LabelledSet(name, class_names, samples=samples, templates=templates, problems=problems, notes=notes)


def _labelled_or_problem(sample: ShardSample, class_count: int) -> Labelled | Skipped:
    if sample.image is None:
        if sample.foreign_suffix:
            return Skipped(key=sample.key, reason="unsupported format", detail=f".{sample.foreign_suffix}")
        return Skipped(key=sample.key, reason="label without image")
    if sample.beside is None:
        return Skipped(key=sample.key, reason="image without label")
    if sample.image.size == 0:
        return Skipped(key=sample.key, reason="empty file")
    text = sample.beside.strip()
    # isdigit of bytes is 0 to 9 only; nine digits are more classes than anybody has.
    if not text.isdigit() or len(text) > 9 or int(text) >= class_count:
        shown = text[:20].decode("ascii", "backslashreplace")
        raise RefusedInput(
            f"{sample.key}.cls says {shown!r}, but {CLASS_NAMES} names {class_count} classes: "
            f"a label is a number from 0 to {class_count - 1}."
        )
    return Labelled(sample.key, int(text), sample.image)


def _read_class_names(path: Path) -> list[str]:
    """One name per line; a line number is a label, so an empty line in between is refused and not skipped."""
    text = _text_of(path).rstrip()
    split_lines(text, source=path)
    names = [line.strip() for line in text.split("\n")]
    if not all(names):
        number = names.index("") + 1
        raise RefusedInput(f"Line {number} of {str(path)!r} is empty; each line names one class, the first is class 0.")
    return names


def _text_of(path: Path) -> str:
    try:
        return read_text(path, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RefusedInput(f"{str(path)!r} is not UTF-8 ({error.reason}); save it as UTF-8.") from error


def _has_class_folders(files: dict[str, int]) -> bool:
    """Whether images lie in folders and most of those have no caption beside them."""
    images = [split_suffix(name) for name in files if split_suffix(name)[1] in IMAGE_SUFFIXES]
    is_captioned = [f"{stem}.txt" in files for stem, _ in images if "/" in stem]
    return bool(is_captioned) and sum(is_captioned) <= len(is_captioned) / 2


def _has_captions(folder: Path, files: dict[str, int]) -> bool:
    """Whether a table in the folder has captions of images, which lie in one folder and so are no classes."""
    folders = {name.partition("/")[0] for name in files if "/" in name and split_suffix(name)[1] in IMAGE_SUFFIXES}
    return len(folders) == 1 and bool(tables_with_captions(folder))


def _open_class_folders(
    folder: Path,
    files: dict[str, int] | None = None,
    *,
    problems: list[Skipped] | None = None,
    name: str = "",
    beside: Sequence[Skipped] = (),
    note: str = "",
) -> LabelledSet:
    """Every folder directly below is a class, called as the folder with spaces for underscores, sorted by name.

    Folders that are all numbers, perhaps behind one word, are sorted as such; WordNet numbers are called as in
    ImageNet. `files` and `problems` are what `files_below` found, where it was called already; `beside` and `note` are
    added to problems and notes.
    """
    if files is None or problems is None:
        problems = []
        files = dict(files_below(folder, problems))
    problems.extend(beside)
    # Links to folders too: `files` has nothing of theirs, so that they are refused below and not left out.
    classes = sorted(item.name for item in folder.iterdir() if item.is_dir() and not is_left_alone(item.name))
    has_folders_inside = any(key.count("/") > 1 for key in files)
    if len(classes) > 1 and has_folders_inside and all(class_.lower() in PARTS for class_ in classes):
        raise UsageError(
            f"{str(folder)!r} has {', '.join(map(repr, classes))}, as the parts of a set are called, and not each of "
            "them has a folder per class; name the one that has."
        )
    numbered = [re.fullmatch(r"(\D*)(\d+)", class_) for class_ in classes]
    if len({match[1] if match else None for match in numbered}) == 1 and all(numbered):
        classes.sort(key=lambda class_: (int(re.sub(r"\D", "", class_)), class_))
    names, notes = named_by_number([class_.replace("_", " ") for class_ in classes])
    if twice := next(
        (name for name, count in Counter(class_.replace("_", " ") for class_ in classes).items() if count > 1), ""
    ):
        raise UsageError(f"Two folders of {str(folder)!r} are both class {twice!r}; rename or merge them.")
    label_of = {class_: label for label, class_ in enumerate(classes)}
    samples = []
    for key, size in sorted(files.items()):
        suffix = split_suffix(key)[1]
        if suffix in FOREIGN_SUFFIXES:
            problems.append(Skipped(key=key, reason="unsupported format", detail=f".{suffix}"))
        elif suffix in IMAGE_SUFFIXES and "/" not in key:
            problems.append(Skipped(key=key, reason="image outside a class folder"))
        elif suffix in IMAGE_SUFFIXES and not size:
            problems.append(Skipped(key=key, reason="empty file"))
        elif suffix in IMAGE_SUFFIXES:
            label = label_of[key.partition("/")[0]]
            samples.append(Labelled(key, label, LooseFile(str(folder.absolute() / key), size)))
    if without := sorted(set(range(len(classes))) - {sample.label for sample in samples}):
        named = ", ".join(repr(classes[label]) for label in without[:5])
        raise UsageError(
            f"{folder} has class folders without an image that can be read: {named}; remove them, or add images."
        )
    notes = [*filter(None, [note]), *notes, *_texts_beside(files)]
    return LabelledSet(name or name_of(folder), names, samples=samples, problems=problems, notes=notes)


def _texts_beside(files: dict[str, int]) -> list[str]:
    """A line for a person where images of class folders have texts beside them."""
    images = [split_suffix(name) for name in files]
    texts = [f"{stem}.txt" for stem, suffix in images if suffix in IMAGE_SUFFIXES and f"{stem}.txt" in files]
    if not texts:
        return []
    which = "1 text file beside an image of a class folder is" if len(texts) == 1 else f"{len(texts)} text files are"
    return [f"{which} not read: {texts[0]!r}{' and others' if len(texts) > 1 else ''}."]

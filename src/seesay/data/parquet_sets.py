"""Labelled and captioned images in Parquet files, as Hugging Face data sets store them.

An image is a struct {bytes, path}, or the bytes alone; a class is a number whose names stand in the file's metadata
under "huggingface"; captions are a text or a list of texts.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from seesay.base.errors import RefusedInput, UsageError, nearest
from seesay.base.records import Skipped
from seesay.data.hub_sets import HubSet, fetch, read_name, splits_of
from seesay.data.labelled import Labelled, LabelledSet
from seesay.data.parquet_columns import Row, image_rows
from seesay.data.parquet_pages import open_parquet_file
from seesay.data.sources import Entry, PairList, count_reasons

IMAGE_COLUMNS = ("image", "img", "jpg", "png", "webp")
LABEL_COLUMNS = ("label", "labels", "fine_label", "cls")
CAPTION_COLUMNS = ("caption", "captions", "text", "sentences", "sentence")
TRAIN = "train"


def open_hub_set(source: str | Path) -> LabelledSet | PairList:
    """The set of the hub that is written so, fetched where it has to be; raises as `fetch` and `open_parquet`."""
    wanted = read_name(source)
    return open_parquet(fetch(wanted), wanted)


def open_train_split(source: str | Path) -> LabelledSet | None:
    """The split "train" of a labelled set of the hub; None where there is no other split than the set's own."""
    wanted = read_name(source)
    if wanted.split == TRAIN or TRAIN not in splits_of(wanted):
        return None
    found = open_hub_set(str(replace(wanted, split=TRAIN)))
    return found if isinstance(found, LabelledSet) else None


def open_parquet(files: Sequence[Path], wanted: HubSet) -> LabelledSet | PairList:
    """The images of Parquet files that belong together, labelled where the first has classes, else captioned.

    `UsageError` for columns that are not there, or are not plain without being named; `RefusedInput` for a file that
    is no Parquet, or labels that contradict the class names.
    """
    columns, features = _columns_of(files[0])
    image = _column(wanted, "image", _of_type(features, "Image") or _known(columns, IMAGE_COLUMNS), columns)
    classes = {name: features[name]["names"] for name in _of_type(features, "ClassLabel")}
    if wanted.captions is None and (classes or wanted.label is not None):
        usual = [name for name in LABEL_COLUMNS if name in classes]
        label = _column(wanted, "label", usual[:1] or list(classes), columns)
        if label not in classes:
            raise UsageError(f"column {label!r} of {wanted} has no class names; those that have: {', '.join(classes)}.")
        return _labelled(wanted, image_rows(files, image, label), classes[label])
    captions = _column(wanted, "captions", _known(columns, CAPTION_COLUMNS)[:1], columns)
    return _captioned(wanted, image_rows(files, image, captions))


def _labelled(wanted: HubSet, rows: Iterator[Row], written: Sequence[str]) -> LabelledSet:
    names = [str(name).replace("_", " ") for name in written]
    samples, problems = [], []
    for key, image, label in rows:
        # Hidden labels of a competition are -1.
        if label is None or label == -1:
            problems.append(Skipped(key=key, reason="image without label"))
        elif not isinstance(label, int) or not 0 <= label < len(names):
            raise RefusedInput(f"{key} of {wanted} has label {label!r}, but there are {len(names)} classes.")
        elif image is None or not image.size:
            problems.append(Skipped(key=key, reason="label without image"))
        else:
            samples.append(Labelled(key, label, image))
    if not samples:
        raise UsageError(f"no labelled image in {wanted}: {count_reasons(problems) or 'it is empty'}.")
    return LabelledSet(wanted.name, names, samples=samples, problems=problems)


def _captioned(wanted: HubSet, rows: Iterator[Row]) -> PairList:
    entries, problems = [], []
    for key, image, value in rows:
        texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        captions = tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())
        if image is None or not image.size:
            problems.append(Skipped(key=key, reason="caption without image"))
        elif not captions:
            problems.append(Skipped(key=key, reason="image without caption", location=image.location))
        else:
            entries.append(Entry(key, captions, image))
    if not entries:
        raise UsageError(f"no captioned image in {wanted}: {count_reasons(problems) or 'it is empty'}.")
    return PairList(wanted.name, entries, problems=problems)


def _column(wanted: HubSet, kind: str, found: Sequence[str], columns: Sequence[str]) -> str:
    """The column that is named, else the only one that can be meant."""
    named = getattr(wanted, kind)
    if named is not None and named not in columns:
        raise UsageError(f"{wanted} has no column {named!r}; it has {', '.join(columns)}.{nearest(named, columns)}")
    if named is None and len(found) != 1:
        candidates = f"several that may hold the {kind}" if found else f"none that is known to hold the {kind}"
        choices = ", ".join(found or columns)
        raise UsageError(f"of the columns of {wanted} there are {candidates}; add ,{kind}=NAME, one of: {choices}.")
    return named or found[0]


def _columns_of(path: Path) -> tuple[list[str], dict[str, Any]]:
    """The names of the columns, and what Hugging Face's metadata say of each."""
    with open_parquet_file(path) as opened:
        schema = opened.schema_arrow
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        features = {}
    known = features if isinstance(features, dict) else {}
    return schema.names, {
        name: feature for name, feature in known.items() if isinstance(feature, dict) and name in schema.names
    }


def _of_type(features: dict[str, Any], kind: str) -> list[str]:
    found = [name for name, feature in features.items() if feature.get("_type") == kind]
    return [name for name in found if kind != "ClassLabel" or features[name].get("names")]


def _known(columns: Sequence[str], usual: Sequence[str]) -> list[str]:
    return [name for name in usual if name in columns]

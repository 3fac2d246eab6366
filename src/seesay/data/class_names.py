"""Names of classes: several for one class, the edited ones of known data sets, and sentences that describe a class.

`class_names.json` holds the names that Radford et al. 2021 published with their code: a whole list for a data set, or,
for ImageNet, the names that were changed, by class number. A class is one name or a list of names.

`known_sets.json` says how the paper names the classes of its data sets, known by what a set is called. A name is taken
without capitals and without what is neither letter nor digit, and without words such as "eval", "wds" or "test" that
stand beside it: eval-cifar10, wds_vtab-cifar10 and hf:uoft-cs/cifar10:test are all cifar10. If that is one of the names
that a data set is "called", its classes are asked about in its "templates", one of `data.prompts.TEMPLATES`, and a
class that stands among its "class_names", compared in the same way, is called as the paper called it ("SeaLake" is
"lake or sea"); other classes keep the name they have. So a set may hold some of the classes only, in any order. For
people, and for the reference of sets, it also has a "title", where CLIP_benchmark's copy lies on the "hub", which
"split" is measured by which "metric", and the "reader" (`data.paper_sets`) of its publisher's files.

`imagenet_names.json` has the 1,000 names that OpenAI published for ImageNet's classes, by WordNet number: the folders
of ImageNet, of its smaller versions and of ImageNet-V2, -Sketch, -A and -R are called by such numbers.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seesay.base.bounded import read_text, refuse_values
from seesay.base.errors import UsageError, nearest
from seesay.base.names import text_list
from seesay.data.prompts import TEMPLATES, fill, read_labels

ClassName = str | Sequence[str]
Descriptions = str | Path | Mapping[str, Sequence[str]]

# What two classes with one name come to; part of every message about them.
SAME_NAME = "images of classes that share a name all count as misses"

CLASS_NAMES: dict[str, Any] = json.loads(Path(__file__).with_name("class_names.json").read_text(encoding="utf-8"))
# The WordNet number of a noun, as ImageNet writes it.
WORDNET_NUMBER = re.compile(r"n\d{8}")
# "001.Laysan Albatross", "n02085620-Chihuahua", "1. cat", and no "3 dogs".
_NUMBER_BEFORE = re.compile(r"(n\d{8}(?=[-._ ])|\d{3,}(?=[-._ ])|\d+(?=\.))[-._ ]+(.*[^\W\d_]{2}.*)")
KNOWN_SETS: dict[str, Any] = json.loads(Path(__file__).with_name("known_sets.json").read_text(encoding="utf-8"))


def named_by_number(names: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """The names with ImageNet's for WordNet numbers, and a line for a person where there are some."""
    numbers = [name for name in names if WORDNET_NUMBER.fullmatch(name)]
    if not numbers:
        return _without_number(names)
    called = imagenet_names()
    known = [number for number in numbers if number in called]
    if not known:
        return list(names), ()
    note = f"{len(known)} of {len(names)} classes are WordNet numbers and called as in ImageNet: {known[0]} is"
    return [called.get(name, name) for name in names], (f"{note} {called[known[0]]!r}.",)


def _without_number(names: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """The names without the number before each, as in CUB's and in Stanford's dogs, and a line that says so."""
    parts = [_NUMBER_BEFORE.fullmatch(name) for name in names]
    numbers, bare = [part[1] for part in parts if part], [part[2] for part in parts if part]
    if len(names) < 2 or min(len(set(bare)), len(set(numbers))) < len(names):
        return list(names), ()
    return bare, (f"classes are called without the number before their names: {names[0]!r} is {bare[0]!r}.",)


def imagenet_names() -> dict[str, str]:
    """OpenAI's names of ImageNet's 1,000 classes by their WordNet numbers."""
    return json.loads(Path(__file__).with_name("imagenet_names.json").read_text(encoding="utf-8"))


def without_words(names: Sequence[ClassName]) -> list[str]:
    """The first names of classes that say nothing to a text tower: a WordNet number, or no two letters in a row."""
    first = [names_of(name)[0] for name in names]
    return [name for name in first if WORDNET_NUMBER.fullmatch(name) or not re.search(r"[^\W\d_]{2}", name)]


def names_of(class_name: ClassName) -> tuple[str, ...]:
    """All names of one class; the first of them is what it is called in results. `UsageError` for an empty one."""
    names = (class_name,) if isinstance(class_name, str) else tuple(text_list(class_name, "the names of a class"))
    if not names or not all(name.strip() for name in names):
        raise UsageError(f"a class has the names {list(names)!r}; give every class a name, and no empty one.")
    return names


def repeated_names(class_names: Sequence[ClassName]) -> list[str]:
    """The names that more than one class has, each once. ImageNet has two such pairs."""
    owners: dict[str, int] = {}
    for class_name in class_names:
        for name in dict.fromkeys(names_of(class_name)):
            owners[name] = owners.get(name, 0) + 1
    return [name for name, count in owners.items() if count > 1]


def edited_names(class_names: Sequence[str], name_or_file: str | Path) -> list[ClassName]:
    """What to call the classes of a set instead: the edited names of a known data set, or the lines of a file.

    In a file the names of one class are separated by commas. Raises `UsageError` for what is neither a known name
    nor a file, and where the number of classes is another.
    """
    known = CLASS_NAMES.get(str(name_or_file))
    if isinstance(known, dict):
        changed = {int(number): name for number, name in known.items()}
        if max(changed) >= len(class_names):
            raise UsageError(
                f"class names {str(name_or_file)!r} are for 1000 classes, but the set has {len(class_names)}."
            )
        return [changed.get(number, name) for number, name in enumerate(class_names)]
    if known is None:
        if not Path(name_or_file).exists():
            raise UsageError(
                f"class names {str(name_or_file)!r} are no known data set and no file; "
                f"known: {', '.join(CLASS_NAMES)}.{nearest(str(name_or_file), CLASS_NAMES)}"
            )
        known = [[name.strip() for name in line.split(",") if name.strip()] for line in read_labels(name_or_file)]
    if len(known) != len(class_names):
        raise UsageError(
            f"class names {str(name_or_file)!r} are for {len(known)} classes, but the set has {len(class_names)}; "
            "the names come in the order of its classes."
        )
    return list(known)


def class_prompts(
    class_names: Sequence[ClassName], templates: Sequence[str], descriptions: Descriptions | None = None
) -> list[tuple[str, ...]]:
    """The prompts of every class: each of its names in each template, or the sentences that describe it.

    With `descriptions` every class needs sentences of its own, found by any of its names (Pratt et al. 2023).
    """
    names = [names_of(class_name) for class_name in class_names]
    if descriptions is None:
        return [tuple(fill(templates, own)) for own in names]
    sentences = descriptions if isinstance(descriptions, Mapping) else read_descriptions(descriptions)
    missing = [own[0] for own in names if not any(name in sentences for name in own)]
    if missing:
        raise UsageError(
            f"no description of {', '.join(map(repr, missing[:5]))} ({len(missing)} of {len(names)} classes)."
            f"{nearest(missing[0], sentences)} Give every class a list of sentences under its name."
        )
    return [tuple(sentence for name in own for sentence in sentences.get(name, ())) for own in names]


def read_descriptions(path: str | Path) -> dict[str, list[str]]:
    """A JSON file of {class: [sentence, ...]}; `UsageError` if it is none, `RefusedInput` if it is too large."""
    try:
        text = read_text(path, encoding="utf-8-sig")
        refuse_values(text, source=path)
        found = json.loads(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); give a JSON file of descriptions.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON in UTF-8 ({error}); write {{class: [sentence, ...]}}.") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds a {type(found).__name__}; write {{class: [sentence, ...]}}.")
    for name, sentences in found.items():
        is_list = isinstance(sentences, list) and sentences
        if not is_list or not all(isinstance(sentence, str) and sentence.strip() for sentence in sentences):
            raise UsageError(f"{path} does not give class {name!r} a list of sentences; write at least one.")
    return found


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """How the paper asks about the classes of a data set; `name` is what it is called here, `metric` its measure."""

    name: str
    metric: str
    templates: tuple[str, ...]
    class_names: dict[str, ClassName]

    def names_for(self, class_names: Sequence[str]) -> list[ClassName]:
        """What to call classes that have these names in a set."""
        return [self.class_names.get(_bare(name), name) for name in class_names]


def known_set(set_name: str) -> KnownSet | None:
    """The data set that a set of that name is of; None where it is none of them."""
    bare = _bare(set_name, without=KNOWN_SETS["beside_the_name"])
    for name, entry in KNOWN_SETS["sets"].items():
        if bare in [_bare(called) for called in entry["called"]]:
            templates = TEMPLATES[entry["templates"]]
            return KnownSet(name=name, metric=entry["metric"], templates=templates, class_names=entry["class_names"])
    return None


def _bare(name: str, *, without: Sequence[str] = ()) -> str:
    words = re.split(r"[\W_]+", name.lower())
    return "".join(word for word in words if word not in without)

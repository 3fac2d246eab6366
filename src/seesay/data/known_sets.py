"""The data sets of Radford et al. 2021, known by what a set is called: how the paper names their classes.

The rule, with its data in `known_sets.json`. A name is taken without capitals and without what is neither letter nor
digit, and without words such as "eval", "wds" or "test" that stand beside it: eval-cifar10, wds_vtab-cifar10 and
hf:uoft-cs/cifar10:test are all cifar10. If that is one of the names that a data set is "called", its classes are
asked about in its "templates", one of `data.prompts.TEMPLATES`, and a class that stands among its "class_names",
compared in the same way, is called as the paper called it ("SeaLake" is "lake or sea"); other classes keep the name
they have. So a set may hold some of the classes only, in any order.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seesay.data.class_names import ClassName
from seesay.data.prompts import TEMPLATES

_FILE = json.loads(Path(__file__).with_name("known_sets.json").read_text(encoding="utf-8"))


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """How the paper asks about the classes of a data set; `name` is what it is called here."""

    name: str
    templates: tuple[str, ...]
    class_names: dict[str, ClassName]

    def names_for(self, class_names: Sequence[str]) -> list[ClassName]:
        """What to call classes that have these names in a set."""
        return [self.class_names.get(_bare(name), name) for name in class_names]


def known_set(set_name: str) -> KnownSet | None:
    """The data set that a set of that name is of; None where it is none of them."""
    bare = _bare(set_name, without=_FILE["beside_the_name"])
    for name, entry in _FILE["sets"].items():
        if bare in [_bare(called) for called in entry["called"]]:
            return KnownSet(name=name, templates=TEMPLATES[entry["templates"]], class_names=entry["class_names"])
    return None


def _bare(name: str, *, without: Sequence[str] = ()) -> str:
    words = re.split(r"[\W_]+", name.lower())
    return "".join(word for word in words if word not in without)

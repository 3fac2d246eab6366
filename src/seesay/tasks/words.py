"""What the classes of a set are called and asked in, and who said so."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seesay.data.class_names import ClassName, edited_names
from seesay.data.known_sets import known_set
from seesay.data.labelled import LabelledSet
from seesay.data.prompts import load_templates
from seesay.model.bundle import Model


@dataclass(frozen=True, kw_only=True)
class Words:
    """Names and templates, each with its origin in words."""

    names: Sequence[ClassName]
    names_from: str
    templates: tuple[str, ...]
    templates_from: str


def choose_words(
    model: Model,
    sets: Sequence[LabelledSet],
    class_names: Sequence[str],
    *,
    templates: str | Path | Sequence[str] | None = None,
    called: str | Path | None = None,
) -> Words:
    """What the call asks for (`templates`, `called`), else what the first of the sets that has templates brings, else
    what the paper did with a set of that name, else the model's own templates.

    The paper's class names go with the paper's templates. A model that predicts captions takes no templates of sets or
    the paper, only its own: those that go with its training, such as a bare name. The paper's names it does take.
    """
    own = next((found.templates for found in sets if found.templates), None)
    known = next(filter(None, (known_set(found.name) for found in sets)), None)
    by_paper = known if templates is None and own is None else None
    names, names_from = list[ClassName](class_names), "the set"
    if called is not None:
        names, names_from = edited_names(class_names, called), str(called)
    elif by_paper and (edited := by_paper.names_for(class_names)) != names:
        names, names_from = edited, f"the paper, for {by_paper.name}"
    if templates is not None:
        chosen, origin = load_templates(templates), "the call"
    elif not model.embeds_texts:
        chosen, origin = model.templates, "the model"
    elif own is not None:
        chosen, origin = own, "the set"
    elif by_paper:
        chosen, origin = by_paper.templates, f"the paper, for {by_paper.name}"
    else:
        chosen, origin = model.templates, "the model"
    return Words(names=names, names_from=names_from, templates=chosen, templates_from=origin)

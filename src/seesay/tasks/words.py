"""The names and templates for the classes of a set, and where they come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seesay.data.class_names import (
    SAME_NAME,
    ClassName,
    edited_names,
    known_set,
    names_of,
    repeated_names,
    without_words,
)
from seesay.data.labelled import LabelledSet
from seesay.data.prompts import load_templates
from seesay.model.bundle import Model

# So many pairs of old and new names show whether they go together; a guess.
SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Words:
    """Names and templates, each with its origin in words; `notes` are lines on the names for a person.

    `same_names` are names that more than one class has, or that the model reads as the name of another.
    """

    names: Sequence[ClassName]
    names_from: str
    templates: tuple[str, ...]
    templates_from: str
    notes: tuple[str, ...] = ()
    same_names: tuple[str, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """The notes, and a line on names that are the same."""
        return (*self.notes, *([same_names_line(self.same_names)] if self.same_names else []))


def same_names_line(names: Sequence[str]) -> str:
    """What becomes of classes that share a name."""
    return f"more than one class is called {', '.join(map(repr, names))}; {SAME_NAME}."


def choose_words(
    model: Model,
    sets: Sequence[LabelledSet],
    class_names: Sequence[str],
    *,
    templates: str | Path | Sequence[str] | None = None,
    called: str | Path | None = None,
) -> Words:
    """Names and templates for classes that are called `class_names` in the sets.

    The templates are those of the call, else of the first of the sets that has some, else of the paper for a set of
    that name, else of the model. The names are those of `called` (`data.class_names.edited_names`), else the paper's
    where its templates are used, else `class_names`.

    A model that predicts captions takes no templates of sets or the paper, only its own: those that go with its
    training, such as a bare name. The paper's names it does take. `UsageError` for templates or names that there are
    not, or that are of another number of classes.
    """
    of_set = next((evalset.templates for evalset in sets if evalset.templates), None)
    known = next(filter(None, (known_set(evalset.name) for evalset in sets)), None)
    by_paper = known if templates is None and of_set is None else None
    names, names_from = list[ClassName](class_names), "the set"
    if called is not None:
        names, names_from = edited_names(class_names, called), str(called)
    elif by_paper and (edited := by_paper.names_for(class_names)) != names:
        names, names_from = edited, f"the paper, for {by_paper.name}"
    if templates is not None:
        chosen, origin = load_templates(templates), "the call"
    elif not model.embeds_texts:
        chosen, origin = model.templates, "the model"
    elif of_set is not None:
        chosen, origin = of_set, "the set"
    elif by_paper:
        chosen, origin = by_paper.templates, f"the paper, for {by_paper.name}"
    else:
        chosen, origin = model.templates, "the model"
    notes = _notes_on(names, class_names, is_renamed=called is not None, by_paper=names_from.startswith("the paper"))
    read = model.read_labels(names, chosen)
    same = dict.fromkeys([*repeated_names(names), *(name for pair in read.alike for name in pair)])
    return Words(
        names=names,
        names_from=names_from,
        templates=chosen,
        templates_from=origin,
        notes=(*notes, *read.notes),
        same_names=tuple(same),
    )


def _notes_on(
    names: Sequence[ClassName], class_names: Sequence[str], *, is_renamed: bool, by_paper: bool
) -> tuple[str, ...]:
    notes = []
    if is_renamed:
        pairs = [f"{old!r} is {names_of(new)[0]!r}" for old, new in zip(class_names, names, strict=True)]
        more = f", ... ({len(pairs)} classes)" if len(pairs) > SHOWN else ""
        notes.append(f"class names: {', '.join(pairs[:SHOWN])}{more}.")
    if (wordless := without_words(names)) and not by_paper:
        which = f"{len(wordless)} of {len(names)} class names are no words, as {wordless[0]!r}"
        notes.append(f"{which}: a prompt with them says nothing; rename them (evaluate: --class-names FILE).")
    return tuple(notes)

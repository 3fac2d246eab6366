"""Templates and class names: what turns "cat" into "a photo of a cat.".

The templates themselves are data, in `templates.json`. `imagenet80`, `imagenet7` and the ones named after a data set
are those of Radford et al. 2021 as published with their code; `simple` is the paper's plain prompt, `none` the bare
name, `retrieval` the paper's prefix for captions (appendix E.1).
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from seesay.base.bounded import read_text, split_lines
from seesay.base.errors import UsageError, nearest
from seesay.base.names import text_list

TEMPLATES: dict[str, tuple[str, ...]] = {
    name: tuple(templates)
    for name, templates in json.loads(Path(__file__).with_name("templates.json").read_text(encoding="utf-8")).items()
}


# A guess: CLIP's longest list has 80.
MOST_TEMPLATES = 10_000


def load_templates(name_or_file: str | Path | Sequence[str] | None) -> tuple[str, ...]:
    """Templates by name (a key of `TEMPLATES`), from a file (as `read_labels`), or as given; None is `simple`.

    A name wins over a file that is called the same; `./simple` is the file. Raises `UsageError` for what is
    neither, for none at all, and for a template without exactly one {}.
    """
    if name_or_file is None:
        return TEMPLATES["simple"]
    if isinstance(name_or_file, str) and name_or_file in TEMPLATES:
        return TEMPLATES[name_or_file]
    if isinstance(name_or_file, str) and "{}" in name_or_file:
        return checked([name_or_file], "the call")
    if not isinstance(name_or_file, str | Path):
        return checked(name_or_file, "the list of templates")
    if not Path(name_or_file).exists():
        raise UsageError(
            f"templates {str(name_or_file)!r} is no known name and no file; known: {', '.join(TEMPLATES)}."
            + nearest(str(name_or_file), TEMPLATES)
        )
    return checked(read_labels(name_or_file), str(name_or_file))


def fill(templates: Sequence[str], class_names: Sequence[str]) -> list[str]:
    """Every class name in every template, class by class: all templates of class 0, then of class 1, ..."""
    # Not str.format: braces in a class name or elsewhere in a template are ordinary text.
    return [template.replace("{}", name) for name in class_names for template in templates]


def read_labels(path: str | Path) -> list[str]:
    """The lines of a UTF-8 file, without outer white space; empty ones and comments ("# like this") are left out.

    "#1 fan" is no comment, for want of a space behind the "#".

    `UsageError` for what cannot be read, `RefusedInput` for more than 64 MiB or 4,194,304 lines.
    """
    try:
        text = read_text(path, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is no UTF-8 text (byte {error.start}); save it as UTF-8, one entry per line."
        ) from error
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}); give a text file with one entry per line."
        ) from error
    lines = [line.strip() for line in split_lines(text, source=path)]
    return [line for line in lines if line and not f"{line} ".startswith(("# ", "##"))]


def distinct_labels(labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """The labels without outer white space, each once and in the order given; and those that came again.

    Raises `UsageError` where fewer than two are left to choose from, and `TypeError` as `text_list` does.
    """
    stripped = [label.strip() for label in text_list(labels, "labels")]
    if "" in stripped:
        raise UsageError(f"label {stripped.index('') + 1} of {len(stripped)} is empty; give every label a name.")
    count_of = Counter(stripped)
    distinct = list(count_of)
    if len(distinct) < 2:
        raise UsageError(
            f"{len(distinct)} label(s) to choose from ({', '.join(distinct) or 'none'}); "
            "probabilities are shared out over the labels, so one label always gets probability 1: give two or more"
            f"{', each by itself and not with commas between' if ',' in ''.join(distinct) else ''}."
        )
    return distinct, [label for label, count in count_of.items() if count > 1]


def checked(templates: Sequence[str], source: str) -> tuple[str, ...]:
    """The templates, if there are any, not too many, and each has one place for the name."""
    if not templates:
        raise UsageError(f"{source} holds no template; give at least one, such as 'a photo of a {{}}.'.")
    if len(templates) > MOST_TEMPLATES:
        raise UsageError(f"{source} holds {len(templates):,} templates; give at most {MOST_TEMPLATES:,}.")
    for template in templates:
        if template.count("{}") != 1:
            raise UsageError(
                f"template {template!r} of {source} has {template.count('{}')} places for the name; "
                "write {} exactly once, such as 'a photo of a {}.'."
            )
    return tuple(templates)

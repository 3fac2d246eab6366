"""Every setting by its key, from the models of the settings themselves; what each does is in docs/settings.toml."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from seesay.experiments.recipe import Experiment
from seesay.training.settings import TrainSettings

TITLES = {
    "": "The run",
    "data": "data: pairs and batches",
    "data.augment": "data.augment: training crops",
    "towers": "towers: how they compute",
    "optimizer": "optimizer",
    "schedule": "schedule: learning rate and sizes",
    "checkpoint": "checkpoint: saving",
    "check": "check: validation and zero-shot on the way",
    "log": "log",
    "start": "start: a model to begin with",
    "distillation": "distillation: a teacher's answers",
}


def settings_of(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, Any]]:
    """(key, field) of every setting that holds a value, as in "optimizer.learning_rate"."""
    for name, field in model.model_fields.items():
        section = section_of(field.annotation)
        if section:
            yield from settings_of(section, f"{above}{name}.")
        else:
            yield above + name, field


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The model of a section, also of one that may be None."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def all_settings() -> dict[str, Any]:
    """Key -> field of `seesay train`, and of a recipe of `seesay compare` as "compare.KEY"."""
    compared = {key: field for key, field in settings_of(Experiment) if not key.startswith("train.")}
    return dict(settings_of(TrainSettings)) | {f"compare.{key}": field for key, field in compared.items()}


def settings_page(toml: str) -> str:
    """The page, with the words of `toml`; a test finds settings that have none there."""
    words = tomllib.loads(toml)
    lines = [
        "# Settings",
        "",
        "Set one with `--set section.key=value`, several in a TOML file with `--recipe FILE`, or in Python with",
        '`seesay.train(..., optimizer={"learning_rate": 1e-3})`. `print(seesay.TrainSettings())` lists them, and a run',
        "folder holds them all in `settings.toml`, with every choice filled in. An unknown key is refused with the",
        'nearest known one. Values are taken strictly: `3.0` is no whole number, and `"false"` is not `false`.',
    ]
    sections: dict[str, list[str]] = {}
    for key, field in all_settings().items():
        section, _, name = key.rpartition(".")
        line = words.get(key, {"does": "", "from": ""})
        row = f"| `{name}` | {_escaped(type_words(field))} | {default_words(field)} | {line['does']} | {line['from']} |"
        sections.setdefault(section, []).append(row)
    for section, rows in sections.items():
        title = "compare: recipes of `seesay compare`" if section == "compare" else TITLES[section]
        lines += ["", f"## {title}", "", "| key | type | default | what it does | where the default is from |"]
        lines += ["|---|---|---|---|---|", *rows]
    lines += ["", "In a recipe of `seesay compare` the settings of `seesay train` stand below `[train]`."]
    return "\n".join(lines) + "\n"


def type_words(field: Any) -> str:
    """The type of a setting in words, with its bounds."""
    kind = _words(field.annotation)
    return f"{kind}, {', '.join(bounds)}" if (bounds := _bounds(field.metadata)) else kind


def default_words(field: Any) -> str:
    """Its default; "chosen" where the run chooses, "needed" where there is none."""
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    return "chosen" if value is None else f"`{list(value) if isinstance(value, tuple) else value}`"


def _words(annotation: Any) -> str:
    if annotation is type(None):
        return ""
    origin, inner = get_origin(annotation), get_args(annotation)
    if getattr(annotation, "__metadata__", None):
        kind = _words(inner[0])
        extra = [bound for field in inner[1:] for bound in _bounds(getattr(field, "metadata", [field]))]
        return f"{kind}, {', '.join(extra)}" if extra else kind
    if str(origin) == "typing.Literal":
        return " or ".join(f"`{choice}`" for choice in inner)
    if origin is tuple:
        parts = [_words(part) for part in inner if part is not Ellipsis]
        return f"list of {parts[0]}" if Ellipsis in inner else f"[{'; '.join(parts)}]"
    if inner:
        return " or ".join(word for part in inner if (word := _words(part)))
    return {int: "whole number", float: "number", str: "text", bool: "true or false"}.get(annotation, str(annotation))


def _bounds(metadata: list[Any]) -> list[str]:
    found = []
    for one in metadata:
        for name, sign in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below")):
            if (value := getattr(one, name, None)) is not None:
                found.append(f"{sign} {value:,}")
    return found


def _escaped(text: str) -> str:
    return re.sub(r"\|", r"\\|", text)

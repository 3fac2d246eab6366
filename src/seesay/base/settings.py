"""Settings: TOML and `--set section.key=value` into one frozen pydantic model, and back into TOML.

Values are taken strictly: "False" is not a bool, 3.0 is not a whole number, true is not a number.
"""

import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from seesay.base.bounded import read_text
from seesay.base.errors import RefusedInput, UsageError, nearest_setting
from seesay.base.wording import should_be


class _Checked(type(BaseModel)):
    """Makes what is wrong with arguments the same `UsageError` as with a file."""

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        try:
            return super().__call__(*arguments, **named)
        except ValidationError as error:
            raise UsageError(_sentence(cast(type[BaseModel], cls), error)) from error


class Settings(BaseModel, metaclass=_Checked):
    """Base of every group of settings: frozen, keyword-only, checked where it is made, unknown keys forbidden.

    What is wrong is a `UsageError`. A check across fields raises ValueError with the whole sentence in a validator of
    the model; the message reaches the user as it is. A field that may be None has None as its default, since TOML can
    only leave it out. `aliases`: other names that an override may use, with the setting they stand for.
    """

    aliases: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def __str__(self) -> str:
        """Every setting with its value, one a line by section; None is chosen by the run."""
        return "\n".join(f"{name} = {value}" for name, value in _named_values(self))

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        for name, field in cls.model_fields.items():
            may_be_none = type(None) in get_args(field.annotation)
            if may_be_none and field.get_default(call_default_factory=False) is not None:
                raise TypeError(f"{cls.__name__}.{name} may be None, so None must be its default: TOML has no null.")


# Guesses. Bytes of a file of settings, of which many may be a list of sources; and parts of a name such as a.b.c, which
# the library looks up again for each key below and each part behind.
TOML_LIMIT = 1 << 20
PARTS_LIMIT = 40
_LONG_NAME = re.compile(rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{PARTS_LIMIT}}}""")

SettingsT = TypeVar("SettingsT", bound=Settings)


def read_settings(
    cls: type[SettingsT], *, file: Path | None, overrides: Sequence[str] = (), base: Mapping[str, Any] | None = None
) -> SettingsT:
    """Settings of class `cls` from `base`, then the TOML `file`, then `overrides`; the later wins, key by key.

    An override is "section.key=value": the value as TOML would read it, or, where TOML cannot, the bare words.
    Raises UsageError in one line: an unreadable file, an unknown key with the nearest known one, a wrong value;
    and RefusedInput for a file that is too large, or anything nested too deep.
    """
    try:
        values = merged({}, base or {})
        if file is not None:
            values = merged(values, _read_toml(file))
        for override in overrides:
            values = merged(values, _parse_override(override, values, cls.aliases))
        # Through JSON, because strictness then still lets a list be a tuple and a string be a path.
        return cls.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise UsageError(_sentence(cls, error)) from error
    except RecursionError as error:
        raise RefusedInput(
            f"{file or 'a setting'} has values in values, deeper than any setting; flatten them."
        ) from error


def merged(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Both, section by section; `high` wins, but for what is None in it."""
    both = dict(low)
    for key, value in high.items():
        if _is_table(value):
            below = both.get(key)
            both[key] = merged(below if isinstance(below, Mapping) else {}, value)
        elif value is not None:
            both[key] = value
    return both


def as_toml(settings: Settings) -> str:
    """The settings as TOML that `read_settings` turns into an equal object; what is None is left out."""
    return "\n".join(_table(settings.model_dump(), ())).lstrip("\n") + "\n"


def difference(old: Settings, new: Settings) -> list[str]:
    """One line per setting that differs, as in "optimizer.learning_rate: 0.001 -> 0.002"; absent is "(none)"."""
    before, after = dict(leaves(old)), dict(leaves(new))
    return [
        f"{key}: {before.get(key, '(none)')} -> {after.get(key, '(none)')}"
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]


def leaves(settings: Settings) -> Iterator[tuple[str, str]]:
    """Every setting that is not None: its path, as in "optimizer.learning_rate", and its value as TOML writes it."""
    return _leaves(settings.model_dump(), ())


def _named_values(settings: BaseModel, above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings:
        if isinstance(value, BaseModel):
            yield from _named_values(value, f"{above}{name}.")
        else:
            yield above + name, "(chosen by the run)" if value is None else _literal(value)


def setting_names(cls: type[BaseModel], above: str = "") -> Iterator[str]:
    """Every setting and section of class `cls` by its path, as in "optimizer.learning_rate"."""
    for name, field in cls.model_fields.items():
        yield above + name
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from setting_names(kind, f"{above}{name}.")


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        text = read_text(file, limit=TOML_LIMIT)
        if _LONG_NAME.search(text):
            raise RefusedInput(f"{file} has a name of more than {PARTS_LIMIT} parts (a.b.c has 3); no setting has.")
        return tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}; name a TOML file that exists.") from error
    except ValueError as error:
        raise UsageError(f"{file} is not valid TOML: {error}.") from error


def _parse_override(override: str, values: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    parts = aliases.get(key.strip(), key.strip()).split(".")
    if not equals or not all(parts):
        raise UsageError(
            f"--set {override!r} is not of the form section.key=value, as in optimizer.learning_rate=0.001."
        )
    under: Any = values
    for depth, part in enumerate(parts[:-1], start=1):
        under = under.get(part, {})
        if not _is_table(under):
            raise UsageError(f"--set {override}: {'.'.join(parts[:depth])} is {_literal(under)}, which has no keys.")
    value: Any = _parse_value(text.strip())
    for part in reversed(parts):
        value = {part: value}
    return value


def _parse_value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except ValueError:  # no TOML, or a number of more than 4,300 digits
        return text
    # More than one key: the words held a line break, and only looked like TOML.
    return parsed["value"] if len(parsed) == 1 else text


def _sentence(cls: type[BaseModel], error: ValidationError) -> str:
    """The first complaint as one line, and how many more there are."""
    first, *more = error.errors(include_url=False)
    section = first["loc"][:-1]
    path = ".".join(str(part) for part in first["loc"])
    kind, message = first["type"], first["msg"].removeprefix("Value error, ").rstrip(".")
    if kind == "extra_forbidden":
        known = _known_keys(cls, section)
        hint = nearest_setting(path, list(setting_names(cls))) or f" Known: {', '.join(known)}."
        sentence = f"{path} is not a setting.{hint}"
    elif kind == "missing" and isinstance(first["loc"][-1], int):
        sentence = f"{'.'.join(map(str, section))} is {_literal(first['input'])}, but it should have more values."
    elif kind == "missing":
        sentence = f"{path} is missing; it has no default, so the file or --set must give it."
    elif kind == "value_error" and _is_table(first["input"]):
        sentence = f"{message}."
    else:
        sentence = f"{path} is {_literal(first['input'])}, but {should_be(first)}."
    return sentence + (f" (And {len(more)} more.)" if more else "")


def _known_keys(cls: type[BaseModel], section: Sequence[str | int]) -> Iterator[str]:
    """The keys of the settings group at path `section` below `cls`."""
    group: type[BaseModel] | None = cls
    for part in section:
        field = group.model_fields.get(str(part)) if group else None
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()
        group = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    yield from group.model_fields if group else ()


def _table(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Lines of one TOML table: its own values first, since a section that has begun takes all that follows."""
    if path:
        yield f"\n[{'.'.join(_key(part) for part in path)}]"
    for key, value in values.items():
        if value is not None and not _is_table(value):
            yield f"{_key(key)} = {_literal(value)}"
    for key, value in values.items():
        if _is_table(value):
            yield from _table(value, (*path, key))


def _leaves(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if _is_table(value):
            yield from _leaves(value, (*path, key))
        elif value is not None:
            yield ".".join((*path, key)), _literal(value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _quoted(name)


def _literal(value: Any) -> str:
    """`value` as TOML writes it on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return "nan" if math.isnan(value) else repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_literal(item) for item in value)}]"
    if _is_table(value):
        pairs = (f"{_key(key)} = {_literal(item)}" for key, item in value.items() if item is not None)
        return f"{{{', '.join(pairs)}}}"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    # JSON's escapes are all TOML's too, but TOML also wants DEL escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

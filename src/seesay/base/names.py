"""Names that are empty, as a variable that is unset leaves them, or that are no text: refused in plain words."""

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, ParamSpec, TypeVar

from seesay.base.errors import UsageError, nearest_setting
from seesay.base.printable import printable

# The model that comes with the package, taken where none is named.
PACKAGED_MODEL = "box"
# Characters of a wrong value in a message, a guess at what shows which it is.
SHOWN_LENGTH = 40

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def no_empty_names(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """`function`, raising `UsageError` where a text among its arguments, or in a list of them, is empty.

    `TypeError` for an argument that it has not, with the nearest that it has.
    """

    @functools.wraps(function)
    def checked(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        check_arguments(function, arguments, named)
        return function(*arguments, **named)

    return checked


def check_arguments(
    function: Callable[..., Any], arguments: Sequence[Any], named: Mapping[str, Any], *, settings: Iterable[str] = ()
) -> None:
    """As `no_empty_names` for one call; an argument that is unknown may be one of the `settings`, by their paths."""
    signature = inspect.signature(function)
    try:
        bound = signature.bind(*arguments, **named)
    except TypeError:
        unknown = next((name for name in named if name not in signature.parameters), None)
        if unknown is None:
            return  # Python says what is missing or too much
        hint = nearest_setting(unknown, [*signature.parameters, *settings])
        raise TypeError(f"{function.__name__}() has no argument {unknown!r}.{hint}{_as_section(hint)}") from None
    refuse_empty_names(bound.arguments)


def _as_section(hint: str) -> str:
    """How a setting that a hint names by its path is given to a function, as in a={'b': ...}; "" for none."""
    found = re.search(r"\w+(\.\w+)+", hint)
    if found is None:
        return ""
    section, *names = found[0].split(".")
    return f" That is {section}={''.join(f'{{{name!r}: ' for name in names)}...{'}' * len(names)}."


def refuse_empty_names(arguments: Mapping[str, Any]) -> None:
    """`UsageError` for a text that is empty among arguments by name, or in a list of them."""
    for name, value in arguments.items():
        _refuse_empty(name, value)


def refuse_empty_words(words: Sequence[str]) -> None:
    """`UsageError` for an empty word of a command line; where one is meant to be none, it is left out."""
    for number, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option.startswith("--") and equals and not value.strip():
            raise UsageError(f"{option} is empty (an unset variable?); give it a value, or leave it out.")
        if not word.strip():
            before = words[number - 1] if number else ""
            where = f"the word after {before}" if before.startswith("-") else f"word {number + 1} after the verb"
            raise UsageError(f"{where} is empty (an unset variable?); give it a value, or leave it out.")


def same_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that is this one but for case and marks, as "vit-b-32" is "ViT-B/32"; None if there is none."""
    by_key = {_spelling(each): each for each in known}
    return by_key.get(_spelling(name))


def _spelling(name: str) -> str:
    # OpenAI's own code calls the ninth model "ViT-L/14@336px".
    return re.sub(r"[^a-z0-9]|(?<=\d)px\b", "", name.casefold())


def whole_numbers(numbers: Iterable[int], name: str, *, least: int = 1) -> tuple[int, ...]:
    """The numbers in ascending order, each once; `UsageError` for what is no list of whole numbers from `least` on."""
    listed = None if isinstance(numbers, str | bytes) or not isinstance(numbers, Iterable) else list(numbers)
    if listed is None or not all(isinstance(each, Integral) and each >= least for each in listed):
        shown = described(numbers) if listed is None else listed
        raise UsageError(f"{name} are {shown}; give whole numbers of {least} or more in a list, as in [1, 2, 4].")
    return tuple(sorted({int(each) for each in listed}))


def text_list(texts: Iterable[str], name: str) -> list[str]:
    """The texts as a list; `TypeError` for a single one, and for what is no text, by its number in the list."""
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        hint = "wrap the single one in a list" if isinstance(texts, str) else f"not {described(texts)}"
        raise TypeError(f"{name} are a list of strings; {hint}")
    listed = list(texts)
    for number, text in enumerate(listed, start=1):
        if not isinstance(text, str):
            raise TypeError(f"{name} are strings, but number {number} of {len(listed)} is {described(text)}")
    return listed


def described(value: Any) -> str:
    """A value and its type for a message, as in "0 (int)"; None as it is."""
    return "None" if value is None else f"{printable(repr(value))[:SHOWN_LENGTH]} ({type(value).__name__})"


def _refuse_empty(name: str, value: Any) -> None:
    if isinstance(value, str) and not value.strip():
        raise UsageError(f"{name} is empty; give it a value, or leave it out.")
    if isinstance(value, list | tuple):
        for number, item in enumerate(value, start=1):
            if isinstance(item, str) and not item.strip():
                raise UsageError(f"{name} has an empty name, number {number} of {len(value)}; leave it out.")

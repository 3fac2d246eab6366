"""The package's own files as text and as trees, read once for all tests that look at them."""

import ast
import functools
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "seesay"
FILES = sorted(SOURCE.rglob("*.py"))


@functools.cache
def text_of(file: Path) -> str:
    return file.read_text(encoding="utf-8")


@functools.cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(text_of(file))


def name_of(file: Path) -> str:
    """Its path below src/seesay, with slashes."""
    return file.relative_to(SOURCE).as_posix()

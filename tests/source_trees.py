"""The package's own files as text, as trees and as their nodes, read once for all tests that look at them."""

import ast
import functools
import gc
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "seesay"
FILES = sorted(SOURCE.rglob("*.py"))


@functools.cache
def text_of(file: Path) -> str:
    return file.read_text(encoding="utf-8")


@functools.cache
def _trees() -> dict[Path, ast.Module]:
    """All at once: Python's searches for what nobody needs any more would take three times as long as the parser."""
    gc.disable()
    try:
        return {file: ast.parse(text_of(file)) for file in FILES}
    finally:
        gc.freeze()
        gc.enable()


def tree_of(file: Path) -> ast.Module:
    return _trees()[file]


@functools.cache
def nodes_of(tree: ast.AST) -> tuple[ast.AST, ...]:
    """All nodes of a tree, as `ast.walk` gives them: many rules go over them."""
    return tuple(ast.walk(tree))


def name_of(file: Path) -> str:
    """Its path below src/seesay, with slashes."""
    return file.relative_to(SOURCE).as_posix()

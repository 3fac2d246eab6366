"""The public list: every name is there once, loads when it is used, and is what a type checker is told."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import seesay

SOURCE = Path(seesay.__file__)


def test_the_table_and_the_imports_for_a_type_checker_say_the_same():
    imported = {
        alias.asname: node.module
        for node in ast.walk(ast.parse(SOURCE.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("seesay.")
        for alias in node.names
        if alias.asname != "__version__"
    }
    assert imported == {name: f"seesay.{module}" for name, module in seesay._MODULES.items()}
    assert seesay.__all__ == sorted(seesay._MODULES) and set(seesay.__all__) <= set(dir(seesay))


@pytest.mark.parametrize("name", seesay.__all__)
def test_every_public_name_loads_and_is_documented(name):
    value = getattr(seesay, name)
    assert value is getattr(import_module(f"seesay.{seesay._MODULES[name]}"), name)
    assert value.__doc__ and value.__name__ == name


def test_every_verb_that_measures_or_makes_something_is_a_function_too():
    from seesay.cli.main import DOORS

    functions = {"classify": "classify_folder"}
    verbs = [functions.get(verb, verb) for verb in DOORS if verb not in ("models", "completion")]
    assert [verb for verb in verbs if verb not in seesay.__all__] == []


def test_importing_the_package_loads_no_torch():
    code = "import sys, seesay; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'tell'"):
        seesay.tell  # noqa: B018

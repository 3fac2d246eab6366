"""How the files hang together: the way from a command to the loss, and who imports whom."""

import ast
import functools
import importlib
import inspect
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from source_trees import FILES, SOURCE, nodes_of, tree_of

from seesay.cli.main import main
from seesay.training.objectives import contrastive

MODULES = {
    ".".join(file.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): file for file in FILES
}
ROOT = "seesay"
# The issue that built the floors: five files from the door to the loss, and twenty in training/.
MOST_FILES_TO_THE_LOSS = 5
MOST_FILES_IN_TRAINING = 20
# Of all files; it was a third before the house was rebuilt, 63 of 186.
MOST_READ_TOGETHER = 0.16
# A file that alone imports so many is the list of a kind.
A_LIST = 5


def is_typing_only(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports_of(tree, *, with_typing=False):
    """The modules of the package that a file imports, anywhere in it; by request those for a type checker too."""
    unseen = set()
    if not with_typing:
        blocks = [node for node in nodes_of(tree) if is_typing_only(node)]
        unseen = {node for block in blocks for child in block.body for node in nodes_of(child)}
    found = set()
    for node in nodes_of(tree):
        if node in unseen:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in MODULES}
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & MODULES.keys()
            if names - MODULES.keys():
                found.add(node.module)
    return found


@functools.cache
def imports(*, with_typing=False):
    """Module -> the modules of the package that it imports."""
    return {name: imports_of(tree_of(file), with_typing=with_typing) - {name} for name, file in MODULES.items()}


def circles(graph):
    """Modules that import each other by whatever way round, by the modules that can be reached from each."""
    reached = {}
    for name in graph:
        seen, waiting = set(), list(graph[name])
        while waiting:
            if (other := waiting.pop()) not in seen:
                seen.add(other)
                waiting += graph.get(other, ())
        reached[name] = seen
    return sorted(name for name, seen in reached.items() if name in seen)


def single_importers(graph):
    """(file, the only other one that imports it); those of a type checker count too.

    The home of a public name has a reader outside, so that the package's list of names is none.
    """
    by = {}
    for name, imported in graph.items():
        for other in imported:
            by.setdefault(other, []).append(name)
    return sorted((name, others[0]) for name, others in by.items() if len(others) == 1 and others[0] != ROOT)


@pytest.fixture
def pairs(tmp_path):
    """Eight images of 16 px with a caption each."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    for index in range(8):
        Image.new("RGB", (16, 16), (30 * index, 200, 100)).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"a square of kind {index}\n")
    return folder


def test_five_files_from_the_door_to_the_loss_and_the_formula_is_the_next(pairs, tmp_path, monkeypatch):
    """The way a reader takes who wants to see what `seesay train` computes."""
    stacks = []
    honest = contrastive.contrastive_loss

    def formula(*rows, **kind):
        files = [Path(frame.filename) for frame in reversed(inspect.stack())]
        stacks.append([str(file.relative_to(SOURCE)) for file in files if file.is_relative_to(SOURCE)])
        return honest(*rows, **kind)

    monkeypatch.setattr(contrastive, "contrastive_loss", formula)
    words = ["--model", "conv-tiny", "--objective", "contrastive", "--batch-size", "4", "--steps", "1"]
    sets = [word for value in ("data.validation=0.0", "data.vocab_size=540") for word in ("--set", value)]
    assert main(["train", str(pairs), "--out", str(tmp_path / "run"), "--workers", "0", *words, *sets]) == 0

    files = list(dict.fromkeys(stacks[0]))
    assert files[0] == "cli/main.py"
    assert files[1:] == [
        "cli/train.py",
        "training/train.py",
        "training/loop.py",
        "training/step.py",
        "training/objectives/contrastive.py",
    ]
    assert len(files[1:]) <= MOST_FILES_TO_THE_LOSS
    assert inspect.getsourcefile(honest) == str(SOURCE / "formulas" / "contrastive.py")


def test_training_has_few_flat_files():
    files = [file.name for file in (SOURCE / "training").glob("*.py") if file.name != "__init__.py"]
    assert len(files) <= MOST_FILES_IN_TRAINING, sorted(files)


def test_nothing_below_imports_the_package_root():
    """`import seesay` or `from seesay import load` would load what the public names stand for from below."""
    graph = imports(with_typing=True)
    assert [name for name, imported in graph.items() if ROOT in imported] == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import seesay", {"seesay"}),
        ("def f():\n    from seesay import load", {"seesay"}),
        ("from seesay import base", {"seesay.base"}),
        ("from seesay.base import errors, hub", {"seesay.base.errors", "seesay.base.hub"}),
        ("import seesay.base.errors", {"seesay.base.errors"}),
        ("from seesay.base.errors import SeesayError", {"seesay.base.errors"}),
        ("if TYPE_CHECKING:\n    from seesay.base import hub\nelse:\n    import torch", set()),
    ],
)
def test_imports_are_found_wherever_they_stand(code, found):
    assert imports_of(ast.parse(code)) == found


def test_no_modules_import_each_other_by_any_way_round():
    assert circles(imports()) == []


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["b", "c"]


def test_few_files_are_imported_by_one_other_file_only():
    """Two files that are only read together are one file, but for one kind of many, as a tower or an objective."""
    modules = imports(with_typing=True)
    lists = {name for name, count in Counter(user for _, user in single_importers(modules)).items() if count >= A_LIST}
    alone = [(name, user) for name, user in single_importers(modules) if user not in lists]
    listed = "\n".join(f"{name} <- {importer}" for name, importer in alone)
    assert len(alone) < MOST_READ_TOGETHER * len(modules), f"{len(alone)} of {len(modules)} files:\n{listed}"


def scripts():
    """What is run by hand and imports the package: benchmarks, examples, tools."""
    top = SOURCE.parent.parent
    return sorted(file for folder in ("benchmarks", "examples", "tools") for file in (top / folder).rglob("*.py"))


def names_that_are_gone(tree):
    """What a script imports from the package that is not there: "seesay.module.name"."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or node.module is None or node.module.split(".")[0] != ROOT:
            continue
        try:
            module = importlib.import_module(node.module)
        except ModuleNotFoundError:
            yield node.module
            continue
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            if not hasattr(module, alias.name) and whole not in MODULES:
                yield whole


@pytest.mark.parametrize(
    ("code", "gone"),
    [
        ("from seesay.formulas.schedule import rate_factor, gone", ["seesay.formulas.schedule.gone"]),
        ("def f():\n    from seesay.formulas.nothing import gone", ["seesay.formulas.nothing"]),
        ("from seesay.nothing.below import gone", ["seesay.nothing.below"]),
        ("from seesay.formulas import schedule", []),
        ("from pathlib import gone", []),
    ],
)
def test_an_import_of_what_is_gone_is_found(code, gone):
    assert list(names_that_are_gone(ast.parse(code))) == gone


def test_what_measured_a_number_still_finds_what_it_imports():
    found = {
        str(file): gone for file in scripts() if (gone := list(names_that_are_gone(ast.parse(file.read_text("utf-8")))))
    }
    assert found == {}
    assert len(scripts()) > 100

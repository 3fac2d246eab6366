"""The rules of the house that a linter does not know: short files, dangerous things in one place, torch late."""

import ast
import re
import subprocess
import sys

import pytest
from source_trees import FILES, SOURCE, nodes_of, text_of, tree_of

LONGEST_FILE = 350
LONGEST_FUNCTION = 60
LATE_TORCH = ("base", "cli")  # floors that must start without torch, so that `seesay --help` is quick
MOVES = {"os.replace", "os.rename", "os.renames", "os.link", "shutil.move"}
FORBIDDEN_MODULES = {"pickle", "dill", "cloudpickle", "shelve", "marshal", "torchvision", "open_clip"}
# Each comes in by one door.
FORBIDDEN_MODULES |= {"timm", "transformers", "av"}
DOORS = {"nets/timm_tower.py": "timm", "nets/transformers_text.py": "transformers", "data/videos.py": "av"}
FORBIDDEN_CALLS = {"torch.load", "eval", "exec", "os.system", "os.popen", "yaml.load", "joblib.load"}


def dotted(node):
    """`a.b.c` for a chain of names, else what can be told of it: `.c` at the end of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def imported_modules(nodes):
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def run_on_import(body):
    """The statements that importing a module runs: not functions, not what only a type checker reads."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield node
        if isinstance(node, ast.If) and dotted(node.test).endswith("TYPE_CHECKING"):
            yield from run_on_import(node.orelse)
        else:
            yield from run_on_import([child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)])


def long_functions(tree):
    for node in nodes_of(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield f"line {node.lineno}: {node.name} has {lines} lines, {LONGEST_FUNCTION} are allowed"


def forbidden(tree):
    """What is never done anywhere: code from data, archives unpacked on trust, a shell.

    timm is for the file with its towers alone, which the import contract names.
    """
    is_timms = "timm" in (ast.get_docstring(tree) or "").partition("\n")[0]
    for line, module in imported_modules(nodes_of(tree)):
        if is_timms and module.partition(".")[0] == "timm":
            continue
        if module.partition(".")[0] in FORBIDDEN_MODULES or module in FORBIDDEN_CALLS:
            yield f"line {line}: import of {module}"
    for call in (node for node in nodes_of(tree) if isinstance(node, ast.Call)):
        name = dotted(call.func)
        is_tensors_only = name == "torch.load" and any(
            k.arg == "weights_only" and is_true(k.value) for k in call.keywords
        )
        if (name in FORBIDDEN_CALLS and not is_tensors_only) or name.endswith(".extractall"):
            yield f"line {call.lineno}: {name}()"
        for keyword in call.keywords:
            if keyword.arg in ("shell", "allow_pickle", "trust_remote_code") and not is_false(keyword.value):
                yield f"line {call.lineno}: {keyword.arg}={ast.unparse(keyword.value)}"


def pickles_read(tree):
    for call in (node for node in nodes_of(tree) if isinstance(node, ast.Call)):
        if dotted(call.func) == "torch.load":
            yield f"line {call.lineno}: torch.load()"


def is_true(node):
    return isinstance(node, ast.Constant) and node.value is True


def is_false(node):
    return isinstance(node, ast.Constant) and node.value is False


def moves(tree):
    """Renames, by the functions of `os` and `shutil` or by the methods of a path."""
    for call in (node for node in nodes_of(tree) if isinstance(node, ast.Call)):
        name = dotted(call.func)
        # A string is replaced with two arguments, a dataclass with keywords, a path with one argument alone.
        is_path_replace = name.endswith(".replace") and len(call.args) == 1 and not call.keywords
        if name in MOVES or name.endswith(".rename") or is_path_replace:
            yield f"line {call.lineno}: {name}()"


def early_torch(tree):
    for line, module in imported_modules(run_on_import(tree.body)):
        if module.partition(".")[0] == "torch":
            yield f"line {line}: import of {module}"


def is_number(node):
    """A number, its negative, sums and products of numbers, and tuples of these, also of such names."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) and not isinstance(node.value, bool)
    if isinstance(node, ast.UnaryOp):
        return is_number(node.operand)
    if isinstance(node, ast.BinOp):
        return is_number(node.left) and is_number(node.right)
    if isinstance(node, ast.Call) and dotted(node.func).startswith("math."):
        return all(map(is_number, node.args))
    return isinstance(node, ast.Tuple) and bool(node.elts) and all(map(is_number, node.elts))


def numbers_without_source(tree, text):
    """Constants in capitals that no comment, on their line or above them, and no docstring says anything about.

    A comment above counts for the constants that follow it without an empty line.
    """
    lines = text.splitlines()
    docstring = ast.get_docstring(tree) or ""
    for node in tree.body:
        if isinstance(node, ast.AnnAssign):
            target, value = node.target, node.value
        elif isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
        else:
            continue
        names = [dotted(name) for name in (target.elts if isinstance(target, ast.Tuple) else [target])]
        if value is None or not is_number(value) or not all(re.fullmatch(r"_?[A-Z][A-Z0-9_]*", name) for name in names):
            continue
        above = node.lineno - 2
        while above >= 0 and re.match(r"_?[A-Z][A-Z0-9_, ]*(: .*)?= ", lines[above]):
            above -= 1
        has_comment = lines[above].startswith("#") or any(
            "  # " in lines[at] for at in range(node.lineno - 1, node.end_lineno)
        )
        if not has_comment and not all(re.search(rf"\b{name}\b", docstring) for name in names):
            yield f"line {node.lineno}: {', '.join(names)} = {ast.unparse(value)} does not say where it is from"


def complaints(rule, files):
    return [f"{file.relative_to(SOURCE)} {what}" for file in files for what in rule(tree_of(file))]


def test_there_is_something_to_check():
    assert SOURCE / "base" / "errors.py" in FILES


def test_every_folder_is_a_package_or_the_floors_would_not_be_checked():
    missing = {file.parent for file in FILES if not (file.parent / "__init__.py").exists()}
    assert sorted(str(folder.relative_to(SOURCE)) for folder in missing) == []


def test_files_are_short():
    lengths = {str(file.relative_to(SOURCE)): len(text_of(file).splitlines()) for file in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_functions_are_short():
    assert complaints(long_functions, FILES) == []


def test_every_bare_number_says_where_it_is_from():
    """A paper, a folder of benchmarks/, a format's specification, or that it is a guess."""
    found = [
        f"{file.relative_to(SOURCE)} {what}"
        for file in FILES
        for what in numbers_without_source(tree_of(file), text_of(file))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("code", "is_found"),
    [
        ("A = 3", True),
        ("A = -3", True),
        ("A = 2 * 3", True),
        ("A, B = 1, 2", True),
        ("A = 1 << 20", True),
        ("_A = (1, 2.5)", True),
        ("import math\nA = math.log(100)", True),
        ("# A guess.\nA = 3", False),
        ("# Guesses, both.\nA = 3\nB = 4", False),
        ("A = 3  # a guess", False),
        ("# Of something else.\nx = f()\nA = 3", True),
        ("# Far above.\n\nA = 3", True),
        ('"""Words; A of them is a guess."""\nA = 3', False),
        ("A = f(3)", False),
        ("A = True", False),
        ("a = 3", False),
        ("def f():\n    A = 3", False),
    ],
)
def test_a_number_without_a_source_is_found(code, is_found):
    assert bool(list(numbers_without_source(ast.parse(code), code))) == is_found


def test_nothing_forbidden_is_called():
    by_door = tuple(f"{file} line {line}: import of {module}" for file, module in DOORS.items() for line in range(200))
    assert [complaint for complaint in complaints(forbidden, FILES) if not complaint.startswith(by_door)] == []


def test_pickles_are_read_in_the_child_process_alone():
    assert complaints(pickles_read, [file for file in FILES if file != SOURCE / "model" / "unpickle.py"]) == []


def test_only_publish_renames():
    assert complaints(moves, [file for file in FILES if file != SOURCE / "base" / "publish.py"]) == []


def test_ground_and_doors_do_not_import_torch_on_import():
    assert (
        complaints(early_torch, [file for floor in LATE_TORCH for file in sorted((SOURCE / floor).rglob("*.py"))]) == []
    )


def test_importing_ground_and_doors_loads_no_torch_by_any_way_round():
    files = [file for floor in LATE_TORCH for file in sorted((SOURCE / floor).rglob("*.py"))]
    names = [".".join(file.relative_to(SOURCE.parent).with_suffix("").parts) for file in files]
    checked = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: sys.exit(f'importing {name} loads torch')\n"
    )
    done = subprocess.run([sys.executable, "-c", checked, *names], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (early_torch, "import torch"),
        (early_torch, "try:\n    from torch import nn\nexcept ImportError:\n    pass"),
        (early_torch, "class A:\n    import torch.nn"),
        (forbidden, "torch.load('a')"),
        (forbidden, "from torch import load"),
        (forbidden, "def f():\n    import pickle"),
        (forbidden, "eval('1')"),
        (forbidden, "run('ls', shell=True)"),
        (forbidden, "np.load('a', allow_pickle=True)"),
        (forbidden, "tarfile.open('a').extractall('b')"),
        (moves, "os.replace(a, b)"),
        (moves, "Path(a).rename(b)"),
        (moves, "path.replace(other)"),
        (long_functions, "def f():\n" + "    a = 1\n" * LONGEST_FUNCTION),
    ],
)
def test_each_rule_finds_what_it_is_for(rule, code):
    assert list(rule(ast.parse(code)))


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (early_torch, "if TYPE_CHECKING:\n    import torch\ndef f():\n    import torch"),
        (forbidden, "model.eval()\nrun(['ls'], shell=False)"),
        (moves, "text.replace('a', 'b')\ndataclasses.replace(a, b=1)"),
        (long_functions, "def f():\n" + "    a = 1\n" * (LONGEST_FUNCTION - 1)),
    ],
)
def test_no_rule_complains_about_what_is_fine(rule, code):
    assert list(rule(ast.parse(code))) == []

"""Every public thing says what it is, and every function of tensors in which shape they come and go."""

import ast
import re

import pytest
from source_trees import FILES, name_of, nodes_of, tree_of

# A bare tensor or array, one that may be missing, several in a tuple; those by name, as weights, have no one shape.
ARRAYS = re.compile(r"\b(Tensor|ndarray)\b")
BY_NAME = re.compile(r"\b(Mapping|dict)\[")
# (B, D), (N,), (3, S, S), (H, W, 3), (..., D), (K, W + 1): a parenthesis with a capital letter of a dimension in it.
SHAPE = re.compile(r"\((?:[\d.A-Z]|\.\.\.)[\w.]*(?:\s*[*+x/-]\s*[\w.]+)*(?:,\s*[\w. *+x/-]*)*\)")
# image_BD, `best_NR`, pixels_B3SS, an N x M matrix.
SUFFIXED = re.compile(r"\b[a-z]\w*_(?=\w*[A-Z])[A-Z0-9]+\b|\b[A-Z] x [A-Z]\b")
ANY_SHAPE = re.compile(r"\b(scalar|any shape)\b")

# Functions whose arrays have no shape to name, each with the reason.
EXCEPTIONS: dict[str, str] = {}


def owners(tree):
    """(qualified name, node) of every public class, function and method; what stands inside a function is its own."""

    def walk(node, path):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                yield ".".join([*path, child.name]), child
                yield from walk(child, [*path, child.name])
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield ".".join([*path, child.name]), child
            elif isinstance(child, ast.If | ast.Try):
                yield from walk(child, path)

    for name, node in walk(tree, []):
        if not any(part.startswith("_") for part in name.split(".")):
            yield name, node


def is_property_override(node):
    return any(ast.unparse(decorator).endswith((".setter", "overload")) for decorator in node.decorator_list)


def inherits_its_contract(name, node, classes):
    """Whether a method without a docstring carries out one that a base in the package describes."""
    if "." not in name or not isinstance(node, ast.FunctionDef):
        return False
    owner, _, method = name.rpartition(".")
    waiting, seen = list(classes.get(owner, ([], {}))[0]), set()
    while waiting:
        base = waiting.pop()
        if base in seen or base not in classes:
            continue
        seen.add(base)
        bases, documented = classes[base]
        if documented.get(method):
            return True
        waiting += bases
    return False


def class_table():
    """Class -> (its bases, method -> whether it has a docstring), over all files; names are unique enough for that."""
    table = {}
    for file in FILES:
        for node in nodes_of(tree_of(file)):
            if isinstance(node, ast.ClassDef):
                bases = [ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases]
                methods = {
                    child.name: bool(ast.get_docstring(child))
                    for child in node.body
                    if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
                }
                table[node.name] = (bases, methods)
    return table


def without_docstring(trees, classes):
    for file, tree in trees.items():
        if not ast.get_docstring(tree):
            yield f"{file} (the file)"
        for name, node in owners(tree):
            is_described = ast.get_docstring(node) or inherits_its_contract(name, node, classes)
            if not is_described and not is_property_override(node):
                yield f"{file} {name}"


def is_array(annotation):
    words = ast.unparse(annotation) if annotation else ""
    return bool(ARRAYS.search(words)) and not BY_NAME.search(words) and "Callable" not in words


def is_of_arrays(node):
    """Whether a function takes an array whose name says no shape, or gives one."""
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    taken = [argument.arg for argument in arguments if argument and is_array(argument.annotation)]
    return is_array(node.returns) or any(not SUFFIXED.fullmatch(name) for name in taken)


def names_a_shape(node):
    """Whether the docstring tells one: (B, D), `image_BD`, N x M, a scalar, or that any will do."""
    docstring = ast.get_docstring(node) or ""
    return any(pattern.search(docstring) for pattern in (SHAPE, SUFFIXED, ANY_SHAPE))


def without_shape(trees, classes):
    for file, tree in trees.items():
        for name, node in owners(tree):
            if not isinstance(node, ast.FunctionDef) or f"{file} {name}" in EXCEPTIONS:
                continue
            is_said_above = not ast.get_docstring(node) and inherits_its_contract(name, node, classes)
            if is_of_arrays(node) and not is_said_above and not names_a_shape(node):
                yield f"{file} {name}"


@pytest.fixture(scope="module")
def trees():
    return {name_of(file): tree_of(file) for file in FILES}


@pytest.fixture(scope="module")
def classes():
    return class_table()


def test_all_that_is_public_has_a_docstring(trees, classes):
    """A method that carries out one of a base class in the package has that one's."""
    missing = list(without_docstring(trees, classes))
    assert not missing, "\n".join(missing)


def test_functions_of_tensors_name_shapes(trees, classes):
    """Of what comes in, a name such as `image_BD` says it; of what goes out, the docstring."""
    missing = list(without_shape(trees, classes))
    assert not missing, "\n".join(missing)


def test_exceptions_are_few_and_exist(trees):
    known = {f"{file} {name}" for file, tree in trees.items() for name, _ in owners(tree)}
    assert set(EXCEPTIONS) <= known and len(EXCEPTIONS) <= 10


@pytest.mark.parametrize(
    ("words", "is_shape"),
    [
        ("Pixels to (B, W).", True),
        ("(N,) int64.", True),
        ("uint8 (H, W, 3).", True),
        ("(..., C) to (..., D).", True),
        ("Rows of `image_BD`.", True),
        ("Holds N x M scores.", True),
        ("Returns a scalar.", True),
        ("As they are (see above).", False),
        ("An array of numbers (Radford et al. 2021).", False),
        ("What (B) says.", True),
    ],
)
def test_what_counts_as_a_shape(words, is_shape):
    code = f'def f(x: Tensor):\n    """{words}"""'
    assert names_a_shape(ast.parse(code).body[0]) == is_shape

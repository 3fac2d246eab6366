"""One word for one thing, and the field's own: names and sentences without those that have to be explained first."""

import ast
import importlib
import re

import pytest
import typer
from source_trees import FILES, name_of, nodes_of, tree_of

from seesay.cli.main import DOORS, _help

# Names that nothing public has, and below which folder ("": anywhere); behind them what the thing is called.
NAMES = {
    ("tell", ""): "report; of a process group all_gather_object",
    ("meet", ""): "barrier",
    ("from_main", ""): "broadcast_from_main",
    ("numbers", "training/process_group.py"): "all_gather_floats",
    ("average", "training/process_group.py"): "all_reduce_mean",
    ("agree", ""): "check_equal",
    ("ranks", "training"): "world_size",
    ("alone", "training"): "no_sync",
    ("whole", "training"): "full_tensor",
    ("visit", ""): "epoch",
    ("visits", ""): "epochs",
    ("pieces", ""): "chunks",
    ("by_heart", ""): "overfit",
    ("rate", "training"): "learning_rate",
    ("products", ""): "precision",
    ("stands_again", ""): "is_repeated",
    ("guess", "training"): "chance_loss",
    ("floor", "training"): "minimum_loss",
    ("left", "training"): "overfit_tolerance",
    ("is_own", "training"): "is_final_form",
    ("usual", "training"): "default_objective",
    ("face", ""): "base",
    ("AllPairs", ""): "GlobalBatch",
    ("kept", ""): "cache; of a choice what is chosen",
    ("image_side", ""): "image_fingerprint",
    ("encode_once", ""): "cached_encode",
    ("ahead", ""): "prefetch",
    ("directed", ""): "check_unit_length",
    ("numbers", "model"): "check_finite",
    ("undrawn", ""): "no_init",
    ("draws", "nets"): "row_random",
    ("mixed", "nets"): "splitmix64",
    ("words.py", "nets"): "bag_of_words_head.py",
    ("wants_words", ""): "needs_vocabulary",
    ("learn_words", ""): "fit_vocabulary",
    ("refuse_words", ""): "check_vocabulary",
    ("stored", ""): "sources",
    ("place", ""): "location, index, source: what it is",
    ("places", ""): "locations, indices, sources: what they are",
    ("part_file", ""): "resume_file",
    ("judge", ""): "decision",
    ("judged", ""): "decision",
    ("floor_C", ""): "threshold_C",
    ("floors", "tasks"): "thresholds",
    ("close_up", ""): "report_details",
    ("contest", ""): "experiment",
    ("trial", ""): "run",
    ("spread.py", "training"): "sharding.py",
    ("gradcache", ""): "gradient_cache",
    ("backward_apart", ""): "backward_per_chunk",
    ("keep", "training/faults.py"): "snapshot",
    ("put_back", ""): "restore",
    ("take", "training"): "record",
    ("settle", "training"): "apply_mean",
    ("memory_told", ""): "explain_out_of_memory",
    ("rehearsal", ""): "short_run",
    ("judgement", ""): "findings",
    ("mend", ""): "fix",
    ("said", ""): "logged",
    ("told", ""): "reported",
    ("asked", ""): "requested",
    ("way_out", ""): "hint",
    ("picture", ""): "image",
    ("pictures", ""): "images",
}
# Words that no public name has in it either: asked_of, told_BP, ContestRun.
INSIDE_NAMES = ("visit", "visits", "contest", "rehearsal", "judgement", "mend", "told", "asked", "said", "picture")

# What stands for a term of the field in a help text, a message or a docstring, and the term.
PHRASES = {
    r"\bvisit(s|ed|ing)?\b": "epoch",
    r"\bby heart\b": "overfit",
    r"\bstands? again\b": "is repeated",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"(?<!its )(?<!their )\bways? out\b": "hint",
    r"\brehears(al|als|e|ed)\b": "short run",
    r"\bcontests?('s)?\b": "experiment",
    r"\bproducts? (are |is )?(in )?(bfloat16|float32)\b": "precision",
    r"\bpictures?\b": "image",
    r"\bkept (in memory|on disk|for the next|under)\b": "cached",
    r"\b(images|pictures|embeddings|features)( are| is)?( not)? `?kept\b": "cached",
    r"\bis kept for the next\b": "cached",
}


def trees():
    return {name_of(file): tree_of(file) for file in FILES}


def public_names(path, tree):
    """(line, name) of the file itself and its public classes, functions, methods, parameters and fields."""
    yield 0, path.rpartition("/")[2]
    yield 0, path.rpartition("/")[2].removesuffix(".py")

    def walk(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If | ast.Try):
                yield from walk(child)
            elif isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
                yield child.lineno, child.name
                yield from walk(child)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not is_private(child.name):
                if not child.name.startswith("__"):
                    yield child.lineno, child.name
                arguments = child.args
                for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
                    yield child.lineno, argument.arg
            elif isinstance(node, ast.ClassDef) and isinstance(child, ast.AnnAssign):
                field = ast.unparse(child.target)
                if not field.startswith("_"):
                    yield child.lineno, field

    yield from walk(tree)


def is_private(name):
    return name.startswith("_") and name != "__init__"


def words_of(name):
    """The words of a name, without the shape behind it: `told_BP` and `ToldPairs` are told."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.removesuffix(".py"))
    return spaced.lower().split("_")


def wrong_names(path, tree):
    for line, name in dict.fromkeys(public_names(path, tree)):
        bare = re.sub(r"_[A-Z0-9]*[A-Z][A-Z0-9]*$", "", name)
        for (wrong, folder), right in NAMES.items():
            is_there = not folder or path == folder or path.startswith(f"{folder}/")
            if is_there and wrong in (name, bare):
                yield f"{path}:{line} {name} -> {right}"
                break
        else:
            if set(words_of(name)) & set(INSIDE_NAMES):
                yield f"{path}:{line} {name}"


def docstrings(tree):
    for node in nodes_of(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield first.value


def sentences(tree):
    """(line, text) of docstrings, and of all other strings with a space in them: messages, help, what is printed."""
    for node in nodes_of(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield node.lineno, "".join(map(str, parts))
        # A pattern is of other people's words, such as names of files.
        elif isinstance(node, ast.Constant) and " " in (text := str(node.value)) and "(?:" not in text:
            yield node.lineno, text


def wrong_phrases(text):
    """The words in a text that stand for a term, with the term."""
    joined = " ".join(text.split())
    for pattern, term in PHRASES.items():
        if match := re.search(pattern, joined, re.IGNORECASE):
            yield f"{match.group()!r} -> {term}"


def help_texts():
    """(where, text) of the list of verbs, and of every command with its arguments and options."""
    yield "seesay", _help()
    for verb, (module, line) in DOORS.items():
        app = typer.Typer(add_completion=False)
        app.command()(importlib.import_module(module).command)
        command = typer.main.get_command(app)
        yield verb, line
        yield verb, command.help or ""
        for parameter in command.params:
            words = [getattr(parameter, "help", None), getattr(parameter, "metavar", None), *parameter.opts]
            yield f"{verb} {parameter.name}", " ".join(word for word in words if word)


def test_no_public_name_has_to_be_explained():
    found = [wrong for path, tree in trees().items() for wrong in wrong_names(path, tree)]
    assert not found, "\n".join(found)


def test_docstrings_and_messages_use_the_fields_own_terms():
    found = dict.fromkeys(
        f"{path}:{line} {wrong}"
        for path, tree in trees().items()
        for line, text in sentences(tree)
        for wrong in wrong_phrases(text)
    )
    assert not found, "\n".join(found)


def test_help_uses_the_fields_own_terms():
    found = [f"{where}: {wrong}" for where, text in help_texts() for wrong in wrong_phrases(text)]
    assert not found, "\n".join(found)


def test_all_doors_are_read():
    where = [verb for verb, _ in help_texts()]
    assert set(DOORS) <= set(where) and len(where) > 3 * len(DOORS)


@pytest.mark.parametrize(
    ("code", "is_wrong"),
    [
        ("def tell(x): ...", True),
        ("def f(asked): ...", True),
        ("def f(told_BP): ...", True),
        ("class A:\n    place: str", True),
        ("class ContestRun: ...", True),
        ("def f():\n    told = 1", False),
        ("def _tell(x): ...", False),
        ("def intelligible(found, part): ...", False),
        ("class A:\n    placement: str", False),
    ],
)
def test_a_wrong_name_is_found_where_others_see_it(code, is_wrong):
    assert bool(list(wrong_names("data/some.py", ast.parse(code)))) == is_wrong


@pytest.mark.parametrize(
    ("text", "is_wrong"),
    [
        ("the how-manyeth visit to it", True),
        ("it learned one batch by\n    heart", True),
        ("which stand again in their batch", True),
        ("mend the disk", True),
        ("images kept at 48 px", True),
        ("whose answer is kept under the weights", True),
        ("products are bfloat16", True),
        ("what is found takes place and is kept whole", False),
        ("the largest dot product, and recommended products", False),
        ("what was asked for is told in one line", False),
        ("an error on its way out", False),
        ("a product of matrices takes less time in bfloat16", False),
    ],
)
def test_ordinary_english_is_not_meant(text, is_wrong):
    assert bool(list(wrong_phrases(text))) == is_wrong

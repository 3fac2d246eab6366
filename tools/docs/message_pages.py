"""Messages by topic, read from the source, each with the heading that says what to do; and the exit codes."""

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from python_pages import page_of

import seesay
from seesay.base import errors

SOURCE = Path(seesay.__file__).parent
# What stands in a message for a value.
VALUE = "…"


@dataclass(frozen=True)
class Topic:
    """A heading of the page of messages, and the heading where what is to be done is written."""

    title: str
    page: str
    words: str


TOPICS = {
    "images": Topic("Images", "formats.md#images", "which images are read, and the limits of one"),
    "pairs": Topic("Pairs, tables and shards", "formats.md#pairs", "the forms of pairs that are read"),
    "sets": Topic("Labelled sets, class names, prompts", "formats.md#labelled-sets", "the forms of labelled sets"),
    "curate": Topic("Making sets of pairs", "../curate.md#the-stages", "the stages of `seesay curate`"),
    "vocabulary": Topic("Vocabularies and tokens", "formats.md#vocabularies", "vocabularies that are read"),
    "models": Topic("Model files", "formats.md#models", "layouts of model files"),
    "engines": Topic(
        "Engines and exported files", "../how-to/run-elsewhere.md#which-engine-to-take", "how to run a model elsewhere"
    ),
    "names": Topic(
        "Names of models and downloads", "../how-to/bring-weights.md#names", "names, and work without a network"
    ),
    "settings": Topic("Settings and recipes", "../how-to/train.md#change-a-setting", "how a setting is changed"),
    "training": Topic(
        "Training", "../how-to/train.md#when-something-goes-wrong", "what a run does when something fails"
    ),
    "processes": Topic(
        "Many processes and machines",
        "../clusters.md#when-something-happens",
        "what several processes do when one fails",
    ),
    "doctor": Topic("The doctor", "../how-to/train.md#ask-the-doctor-first", "what `seesay doctor` looks at"),
    "finetune": Topic("Fine-tuning", "../how-to/fine-tune.md#choose-what-is-trained", "what can be trained"),
    "classify": Topic("Labels for photos", "../how-to/label-photos.md#label-photos", "how to label photos"),
    "search": Topic("Search and vectors", "../how-to/find-photos.md#other-questions", "what can be asked"),
    "probe": Topic("Probes", "../how-to/probe.md#the-estimator", "how to fit a probe"),
    "evaluate": Topic(
        "Evaluation and comparisons", "../how-to/evaluate-and-compare.md#measure-a-model", "how to measure"
    ),
    "explain": Topic("Explanations", "../how-to/explain.md#explain", "how to ask why"),
    "audit": Topic("Audits", "../how-to/audit.md#audit", "how to audit"),
    "overlap": Topic("Overlaps", "../how-to/overlap.md#overlap", "how to look for test images among training images"),
    "serve": Topic("The service", "../how-to/serve.md#behind-a-token", "how to serve"),
    "system": Topic(
        "Files, memory and the command line",
        "../troubleshooting.md#a-file-or-a-folder-is-refused",
        "files and folders that are refused",
    ),
}
# Where a message of these words leads, whatever its topic; the first that is found in it.
BY_WORDS = (
    ("pip install", "../troubleshooting.md#a-package-is-missing", "a package is missing"),
    ("HF_HUB_OFFLINE|with a network|hf auth login|could not be fetched", "../troubleshooting.md#no-network", "the hub"),
    ("not enough memory|out of memory|into memory|more memory", "../troubleshooting.md#not-enough-memory", "memory"),
    ("free some space|TMPDIR|bytes are needed", "../troubleshooting.md#the-disk-is-full-or-read-only", "the disk"),
    ("run with other|run on other|--allow-change", "../troubleshooting.md#a-run-folder-is-refused", "run folders"),
    ("same (command|call|`seesay train`) goes on|begin anew", "../troubleshooting.md#it-was-killed", "how it goes on"),
    (r"(fetch|save|write) (it|them|the model) again|damaged$", "../troubleshooting.md#a-file-is-damaged", "damage"),
    ("UTF-8", "../troubleshooting.md#a-text-is-no-utf-8", "texts in UTF-8"),
    ("empty (word|name)|is empty", "../troubleshooting.md#a-word-is-empty", "empty words"),
    ("[Pp]ickle", "../how-to/bring-weights.md#weights-that-are-only-a-pickle", "pickles"),
    ("image_size|context …", "../how-to/bring-weights.md#another-image-size", "other sizes"),
    ("schedule.sizes", "../how-to/train.md#your-own-image-size", "the size of images"),
    ("--calibrate|--none-of|--multi-label|--threshold", "../how-to/label-photos.md#what-the-numbers-mean", "labels"),
    ("should end in|let its name end|ends in …|--format", "formats.md#answers", "formats of answers"),
    ("--host|--token-file|a token", "../how-to/serve.md#behind-a-token", "tokens"),
    ("weights hold|weights of shape|weights are zero", "../how-to/probe.md#class-weights", "class weights"),
)  # fmt: skip
# The topic of what a file raises, by the longest beginning of its name below src/seesay that is here.
BY_FILE = {
    "base/": "system",
    "base/settings.py": "settings",
    "base/values.py": "settings",
    "base/names.py": "names",
    "base/extras.py": "names",
    "base/hub.py": "names",
    "cli/": "system",
    "cli/audit.py": "audit",
    "cli/classify.py": "classify",
    "cli/compare.py": "evaluate",
    "cli/convert.py": "models",
    "cli/export.py": "engines",
    "cli/doctor.py": "doctor",
    "cli/evaluate.py": "evaluate",
    "cli/explain.py": "explain",
    "cli/probe.py": "probe",
    "cli/search.py": "search",
    "cli/serve.py": "serve",
    "data/": "pairs",
    "data/paper_sets/": "evaluate",
    "data/videos.py": "evaluate",
    **dict.fromkeys(
        (
            "data/camera_raw.py", "data/coded_size.py", "data/decode.py", "data/decoding_limits.py", "data/image",
            "data/isobmff_header.py", "data/jpeg", "data/tiff_header.py", "data/exif", "data/pixel",
            "data/thumbnails.py",
        ),
        "images",
    ),
    **dict.fromkeys(
        (
            "data/class_names.py", "data/drawn_sets.py", "data/drawings.py", "data/evalsets.py", "data/labelled.py",
            "data/parquet_sets.py", "data/prompts.py", "data/known_sets.py", "data/hub_sets.py",
        ),
        "sets",
    ),
    "data/audit_files.py": "audit",
    "data/lance.py": "search",
    **dict.fromkeys(
        ("data/bpe_file.py", "data/tokenizer.py", "data/file_tokenizer.py", "data/absent_tokenizer.py"), "vocabulary"
    ),
    **dict.fromkeys(("data/loader.py", "data/workers.py", "data/augment.py"), "training"),
    "curation/": "curate",
    "cli/curate.py": "curate",
    "evaluation/": "evaluate",
    "evaluation/overlap": "overlap",
    "experiments/": "evaluate",
    "experiments/recipe.py": "settings",
    "finetuning/": "finetune",
    "formulas/": "training",
    "index/": "search",
    "model/": "models",
    "model/download.py": "names",
    "model/hub.py": "names",
    "model/known_models.py": "names",
    "model/open_clip_names.py": "names",
    "model/explain.py": "explain",
    "model/engines.py": "engines",
    "model/onnx": "engines",
    "model/layouts/hf_tokenizer.py": "vocabulary",
    "model/layouts/vocabulary.py": "vocabulary",
    "nets/": "models",
    "preflight/": "doctor",
    "service/": "serve",
    "tasks/": "classify",
    "tasks/audit": "audit",
    "tasks/embed": "search",
    "tasks/explain": "explain",
    "tasks/export": "engines",
    **dict.fromkeys(
        (
            "tasks/estimator_input.py", "tasks/few_shot.py", "tasks/from_words.py", "tasks/linear_probe.py",
            "tasks/penalty_sweep.py", "tasks/probe",
        ),
        "probe",
    ),
    "tasks/retrieve.py": "evaluate",
    "training/": "training",
    "training/process_group.py": "processes",
    "training/sharding.py": "processes",
}  # fmt: skip


def error_classes() -> dict[str, type[errors.SeesayError]]:
    """Name -> class, of every error of the package that ends a command."""
    found = {"SeesayError": errors.SeesayError}
    waiting = [errors.SeesayError]
    while waiting:
        for below in waiting.pop().__subclasses__():
            if below.__module__.startswith("seesay.") and below.__name__ not in found:
                found[below.__name__] = below
                waiting.append(below)
    return found


@functools.cache
def messages(source: Path = SOURCE) -> tuple[tuple[str, str, str], ...]:
    """(file, class of the error, text) of every message that is written out where the error is made.

    Values in it are "…". A message that is put together elsewhere is not found.
    """
    return tuple(_messages(source))


def _messages(source: Path) -> Iterator[tuple[str, str, str]]:
    kinds = set(error_classes()) | {"EstimatorError", "NotFittedError"}
    for path in sorted(source.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds and node.args:
                parts = [_text(argument, constants) for argument in node.args]
                text = " ".join(": ".join(parts).split())
                if any(letter.isalpha() for letter in text):
                    yield path.relative_to(source).as_posix(), node.func.id, text


def _text(node: ast.expr, constants: Mapping[str, object]) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Name):
        return str(constants.get(node.id, VALUE))
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, constants) + _text(node.right, constants)
    if isinstance(node, ast.IfExp):
        return f"{_text(node.body, constants)} / {_text(node.orelse, constants)}"
    return VALUE


def topic_of(file: str) -> str:
    """The key in TOPICS of what a file raises; KeyError for a file of a folder that has none."""
    known = [beginning for beginning in BY_FILE if file.startswith(beginning)]
    if not known:
        raise KeyError(f"{file} has no topic in BY_FILE")
    return BY_FILE[max(known, key=len)]


def help_for(file: str, text: str) -> tuple[str, str]:
    """(page and heading, its words) of what is to be done about a message, as a page of the reference links to it."""
    for words, page, title in BY_WORDS:
        if re.search(words, text):
            return page, title
    topic = TOPICS[topic_of(file)]
    return topic.page, topic.words


def message_page() -> str:
    """Every message by topic."""
    rows: dict[str, dict[str, str]] = {key: {} for key in TOPICS}
    classes = error_classes()
    for file, kind, text in messages():
        code = classes[kind].exit_code if kind in classes else errors.UsageError.exit_code
        page, title = help_for(file, text)
        rows[topic_of(file)].setdefault(text, f"| {_cell(text)} | {code} | [{title}]({page}) |")
    count = sum(map(len, rows.values()))
    lines = [
        "# Messages",
        "",
        f"The {count} messages that are written in the source, by topic, with the exit code of the command and the",
        f"heading that says what to do. `{VALUE}` stands for a value. Search this page for a few words of yours;",
        "common troubles are on [Troubleshooting](../troubleshooting.md).",
    ]
    for key, topic in TOPICS.items():
        if rows[key]:
            lines += ["", f"## {topic.title}", "", f"See [{topic.words}]({topic.page}).", ""]
            lines += [
                "| message | exit code | what to do |",
                "|---|---|---|",
                *(row for _, row in sorted(rows[key].items())),
            ]
    return "\n".join(lines) + "\n"


def error_page() -> str:
    """The exit codes of a command, and the errors of Python that they stand for."""
    codes: dict[int, list[str]] = {}
    for name, one in error_classes().items():
        if name in seesay.__all__:
            codes.setdefault(one.exit_code, []).append(name)
    said = {
        1: "the operation failed",
        2: "wrong usage: a word on the command line, a setting, a path",
        3: "finished or stopped with more samples skipped than allowed (`--max-bad`)",
        4: "a file was refused: damaged, unsafe, or not what it says",
        5: "storage: no space, read-only, locked",
        75: "asked to stop, and everything is saved; the same command goes on",
        130: "Ctrl-C; what can be saved is saved",
    }
    lines = [
        "# Exit codes",
        "",
        "An error is one line: what, its value, a hint. `seesay --debug VERB` shows the trace too.",
        "",
    ]
    lines += ["| code | meaning | in Python |", "|---|---|---|", "| 0 | worked | no error |"]
    for code in sorted(codes):
        names = ", ".join(f"[`seesay.{name}`](python/{page_of(name)})" for name in codes[code])
        lines.append(f"| {code} | {said[code]} | {names} |")
    lines += ["| 141 | the reader of standard output went away, as with `head` | |", ""]
    lines += [
        "All are `seesay.SeesayError`; its `exit_code` is the number. What any of them says: [Messages](messages.md)."
    ]
    lines += [
        "",
        "`seesay doctor` ends with 0 where the run can work, perhaps with warnings, with 1 where it cannot, and with 3",
    ]
    lines += [
        "where too many pairs are broken. `seesay finetune` ends with 1 where no model is better within the bound."
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    for letter, written in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ("|", "&#124;"),
        ("*", "&#42;"),
        ("_", "&#95;"),
    ):
        text = text.replace(letter, written)
    return text.replace("`", "&#96;").replace("[", "&#91;").replace("{", "&#123;").replace("~", "&#126;")

"""The command `seesay`: finds the verb, opens its door, and turns the outcome into one line and an exit code.

A door is a module with one typer-annotated function `command`. `seesay.cli.train` is all this:

    def command(
        data: Annotated[list[str], typer.Argument(help="folders, tables or shards of pairs")],
        out: Annotated[Path, typer.Option(help="the run's folder")],
    ) -> None:
        \"\"\"Train a model on images with captions.\"\"\"      <- the text of `seesay train --help`
        from seesay.training.loop import train                  <- floors that bring torch are imported here

and one line in `DOORS`. It has no typer app, no `main`, no exit codes and no `try` of its own: results go to
standard output, a failure is a raised `SeesayError`, and nothing that brings torch is imported at its top.
"""

import errno
import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seesay.base.errors import (
    Interrupted,
    RefusedInput,
    SeesayError,
    Stopped,
    StorageError,
    UsageError,
    as_hint,
    at_command_line,
    nearest,
    nearest_names,
    nearest_settings,
)
from seesay.base.names import refuse_empty_words
from seesay.base.printable import printable
from seesay.base.publish import storage_error
from seesay.base.streams import STANDARD_OUTPUT, end_line, guard_streams, say
from seesay.base.version import __version__
from seesay.cli.interrupts import INTERRUPT_EXIT, interruptible

# verb -> (module, one line of help). A door is imported only when its verb is run.
DOORS: dict[str, tuple[str, str]] = {
    "train": ("seesay.cli.train", "train a model on images with captions"),
    "doctor": ("seesay.cli.doctor", "check pairs, memory and time before a long run"),
    "classify": ("seesay.cli.classify", "sort images into classes that are named in words"),
    "search": ("seesay.cli.search", "find photos by words, by a photo, or by sums of these"),
    "explain": ("seesay.cli.explain", "which parts of a photo and which words make their similarity"),
    "embed": ("seesay.cli.embed", "write the vectors of images or texts to a file"),
    "evaluate": ("seesay.cli.evaluate", "measure a model on labelled or captioned images"),
    "audit": ("seesay.cli.audit", "compare what a model calls photos of different groups"),
    "overlap": ("seesay.cli.overlap", "find test images among the training images"),
    "compare": ("seesay.cli.compare", "train objectives side by side, or show two runs so"),
    "probe": ("seesay.cli.probe", "fit a linear classifier on a model's features, and measure it"),
    "finetune": ("seesay.cli.finetune", "make a model better at your images without losing the rest"),
    "queries": ("seesay.cli.queries", "make the list of words and names to look for in captions"),
    "curate": ("seesay.cli.curate", "make a training set from tables of captions and links"),
    "serve": ("seesay.cli.serve", "search your photos on a page, and answer over HTTP"),
    "convert": ("seesay.cli.convert", "write a model in the layout of another program"),
    "export": ("seesay.cli.export", "write a model as files for programs without torch"),
    "models": ("seesay.cli.models", "list the models that have a short name"),
    "completion": ("seesay.cli.completion", "print what lets bash, zsh or fish complete with the Tab key"),
}

HELP = ("--help", "-h", "help")
# Set by the scripts of `seesay completion` while a word is completed.
COMPLETES = "_SEESAY_COMPLETE"
# What torch, the threads and the allocators of the system say where memory ends, none with an exception of its own.
NO_MEMORY = ("allocate memory", "out of memory", "can't start new thread", "bad_alloc")
BROKEN_PIPE_EXIT = 141  # what a shell reports for a program that SIGPIPE ended


@at_command_line()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run `seesay` with these words (default: the command line) and return the exit code.

    0 worked; 130 Ctrl-C; 141 the reader of standard output went away; otherwise the code of the `SeesayError`.
    An exception that is none of these is our own mistake and keeps its trace.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    show_trace = os.environ.get("SEESAY_DEBUG") == "1" or words[:1] == ["--debug"]
    try:
        with interruptible():
            has_output = sys.stdout is not None
            guard_streams()
            if not has_output:
                raise StorageError(f"{STANDARD_OUTPUT} is closed; send it to a file, or to /dev/null.")
            with plain_warnings():
                code = _run(words[1:] if words[:1] == ["--debug"] else words)
    except (KeyboardInterrupt, SeesayError, OSError, ImportError, MemoryError, RuntimeError) as error:
        code = _explain(error, show_trace=show_trace)
    return _flush(code, show_trace=show_trace)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Inside, a warning of ours is one line, without the place in our code that it comes from."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **named: Any) -> None:
        if category is UserWarning:
            say(printable(f"warning: {message}"))
        else:
            usual(message, category, *place, **named)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = usual


def _run(words: Sequence[str]) -> int:
    if COMPLETES in os.environ:
        return importlib.import_module(DOORS["completion"][0]).complete(DOORS)
    if not words:
        say(*_help().split("\n"))
        return UsageError.exit_code
    verb, rest = words[0], words[1:]
    if verb == "help" and rest[:1] and rest[0] not in HELP:
        verb, rest = rest[0], ["--help"]
    if verb in HELP:
        print(_help())
    elif verb in ("--version", "-V"):
        print(f"seesay {__version__}")
    elif verb in DOORS:
        return _enter(verb, rest)
    else:
        kind, known = (
            ("an option", ["--help", "--version", "--debug"]) if verb.startswith("-") else ("a verb", [*DOORS, "help"])
        )
        raise UsageError(
            f"{verb!r} is not {kind} of seesay; `seesay --help` lists them.{nearest(verb, known, count=1)}"
        )
    return 0


def _enter(verb: str, arguments: Sequence[str]) -> int:
    """Import the door of `verb` and hand it its arguments; typer's complaints become `UsageError`."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise StorageError("the working folder has been removed; go to another one with cd.") from error
    refuse_empty_words(arguments)
    import typer
    from typer.main import get_command

    door = importlib.import_module(DOORS[verb][0])
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(door.command)
    # Not `app()`: that would turn Ctrl-C and a broken pipe into exit codes of its own.
    command = get_command(app)
    try:
        words = repeated(arguments, getattr(door, "SEVERAL", ""))
        with command.make_context(f"seesay {verb}", words, help_option_names=list(HELP[:2])) as context:
            command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except typer.Abort:
        return INTERRUPT_EXIT
    except typer.TyperException as error:
        raise UsageError(f"{complaint(error, door, command)}. See `seesay {verb} --help`.") from error
    return 0


def complaint(error: Any, door: Any, command: Any) -> str:
    """What typer has to say, without an end mark, and what else an unknown option may be: a setting of the verb's."""
    if (option := getattr(error, "option_name", None)) is None:
        message = error.format_message().rstrip(".").replace(": Value error, ", ": ")  # pydantic's words
        return f"{message}; several words for one stand in quotes" if "unexpected extra" in message else message
    options = [name for parameter in command.params for name in parameter.opts]
    near = nearest_names(option, options, part=lambda name: name.lstrip("-"))
    if hasattr(door, "settings"):
        names = nearest_settings(option.lstrip("-").replace("-", "_"), door.settings())
        near += [f"--set {name}=VALUE" for name in names if f"--{name.replace('_', '-')}" not in options]
    return f"{error.message}.{as_hint(near)}".rstrip(".")


def repeated(words: Sequence[str], option: str) -> list[str]:
    """The words with `option` before each of those that follow it, up to the next option; typer takes one at a time."""
    result, is_open = [], False
    for word in words:
        if is_open and not word.startswith("-"):
            result += [word] if result[-1] == option else [option, word]
        else:
            is_open = bool(option) and word == option
            result.append(word)
    return result


def _help() -> str:
    width = max(len(verb) for verb in DOORS)
    verbs = "\n".join(f"  {verb:<{width}}  {line}" for verb, (_, line) in DOORS.items())
    return f"""Usage: seesay [--debug] VERB ...

CLIP made whole: images and words in one space.

Verbs:
{verbs}

Options:
  --help     this text; `seesay VERB --help` and `seesay help VERB` explain a verb
  --version  the version
  --debug    before the verb: show the trace of an error (also SEESAY_DEBUG=1)

Exit codes: 0 worked, 1 failed, 2 wrong usage, 3 too much skipped, 4 input refused, 5 storage,
75 stopped and saved, 130 interrupted."""


def _explain(error: BaseException, *, show_trace: bool) -> int:
    """Tell a person what happened, in one line on standard error; returns the exit code."""
    if show_trace:
        say(*"".join(traceback.format_exception(error)).rstrip().split("\n"))
    if isinstance(error, KeyboardInterrupt | Interrupted):
        end_line(has_echo=True)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPT_EXIT
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE_EXIT
    explained = error if isinstance(error, SeesayError) else _of_the_system(error)
    if explained is None:
        raise error
    label = "stopped" if isinstance(explained, Stopped) else "error"
    say(f"{label}: {explained}")
    return explained.exit_code


def _of_the_system(error: BaseException) -> SeesayError | None:
    """What disk, memory or installation refused, as an error with a hint; None for what is our own mistake."""
    if isinstance(error, OSError):
        return _of_a_file(error)
    if isinstance(error, ImportError) and not (error.name or "").startswith("seesay"):
        reason = str(error).strip().splitlines()[-1:]  # numpy puts a page of advice before it
        return SeesayError(
            f"a library cannot be loaded ({''.join(reason)}); allow more memory (`ulimit -v`), or install seesay again."
        )
    if isinstance(error, RecursionError):
        return RefusedInput("an input is nested too deeply to be read; --debug shows which one.")
    if isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY):
        reason = str(error) or "MemoryError"
        return SeesayError(f"there is not enough memory ({reason}); free some, or ask for less.")
    return None


def _of_a_file(error: OSError) -> SeesayError:
    if error.filename == STANDARD_OUTPUT:
        known = storage_error(error, STANDARD_OUTPUT)
        return known or StorageError(f"{STANDARD_OUTPUT} cannot be written: {error.strerror}.")
    if error.filename is None:
        if "temporary directory" in str(error.strerror):  # the words of Python's tempfile
            return StorageError(f"{error.strerror}; set TMPDIR to a folder that can be written.")
        return storage_error(error, "a file") or SeesayError(f"{error.strerror or error}.")
    where = Path(os.fsdecode(error.filename))
    # These stop a reader as well as a writer, and the error does not say which of them it was.
    is_either = error.errno in (errno.EACCES, errno.EPERM, errno.EIO)
    known = storage_error(error, where, done="read or written" if is_either else "written")
    return known or SeesayError(f"{where}: {error.strerror or error}.")


def _flush(code: int, *, show_trace: bool) -> int:
    """Flush standard output while a failure can still be told; an earlier failure keeps its own exit code."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # The interpreter flushes once more at exit; nowhere is better than a second, uglier complaint.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code or _explain(error, show_trace=show_trace)
    return code

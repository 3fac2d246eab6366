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
import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from seesay.base.errors import SeesayError, Stopped, UsageError, nearest
from seesay.base.publish import storage_error
from seesay.base.version import __version__
from seesay.cli.interrupts import INTERRUPT_EXIT, ended_at_once

# verb -> (module, one line of help). A door is imported only when its verb is run.
DOORS: dict[str, tuple[str, str]] = {
    "train": ("seesay.cli.train", "train a model on images with captions"),
    "doctor": ("seesay.cli.doctor", "check pairs, memory and time before a long run"),
    "classify": ("seesay.cli.classify", "sort images into classes that are named in words"),
    "evaluate": ("seesay.cli.evaluate", "measure a model on labelled or captioned images"),
    "compare": ("seesay.cli.compare", "train objectives side by side, and see what each needs"),
    "probe": ("seesay.cli.probe", "fit a linear classifier on a model's features, and measure it"),
    "convert": ("seesay.cli.convert", "write a model in the layout of another program"),
    "models": ("seesay.cli.models", "list the models that have a short name"),
}

BROKEN_PIPE_EXIT = 141  # what a shell reports for a program that SIGPIPE ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `seesay` with these words (default: the command line) and return the exit code.

    0 worked; 130 Ctrl-C; 141 the reader of standard output went away; otherwise the code of the `SeesayError`.
    An exception that is none of these is our own mistake and keeps its trace.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name need not be UTF-8; printing it must not end a run.
        sys.stdout.reconfigure(errors="backslashreplace")
    show_trace = os.environ.get("SEESAY_DEBUG") == "1" or words[:1] == ["--debug"]
    try:
        code = _run(words[1:] if words[:1] == ["--debug"] else words)
    except (KeyboardInterrupt, SeesayError, OSError) as error:
        code = _explain(error, show_trace=show_trace)
    return _flush(code, show_trace=show_trace)


def _run(words: Sequence[str]) -> int:
    if not words:
        print(_help(), file=sys.stderr)
        return UsageError.exit_code
    verb, rest = words[0], words[1:]
    if verb == "--help":
        print(_help())
    elif verb == "--version":
        print(f"seesay {__version__}")
    elif verb in DOORS:
        return _enter(verb, rest)
    else:
        kind, known = ("an option", ["--help", "--version", "--debug"]) if verb.startswith("-") else ("a verb", DOORS)
        raise UsageError(
            f"{verb!r} is not {kind} of seesay; `seesay --help` lists them.{nearest(verb, known, count=1)}"
        )
    return 0


def _enter(verb: str, arguments: Sequence[str]) -> int:
    """Import the door of `verb` and hand it its arguments; typer's complaints become `UsageError`."""
    with ended_at_once():
        import typer
        from typer.main import get_command

        door = importlib.import_module(DOORS[verb][0])
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(door.command)
    # Not `app()`: that would turn Ctrl-C and a broken pipe into exit codes of its own.
    command = get_command(app)
    try:
        with command.make_context(f"seesay {verb}", list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except typer.Abort:
        return INTERRUPT_EXIT
    except typer.TyperException as error:
        raise UsageError(f"{error.format_message().rstrip('.')}. See `seesay {verb} --help`.") from error
    return 0


def _help() -> str:
    width = max(len(verb) for verb in DOORS)
    verbs = "\n".join(f"  {verb:<{width}}  {line}" for verb, (_, line) in DOORS.items())
    return f"""Usage: seesay [--debug] VERB ...

CLIP made whole: images and words in one space.

Verbs:
{verbs}

Options:
  --help     this text; `seesay VERB --help` explains a verb
  --version  the version
  --debug    before the verb: show the trace of an error (also SEESAY_DEBUG=1)

Exit codes: 0 worked, 1 failed, 2 wrong usage, 3 too much skipped, 4 input refused, 5 storage,
75 stopped and saved, 130 interrupted."""


def _explain(error: BaseException, *, show_trace: bool) -> int:
    """Tell a person what happened, in one line on standard error; returns the exit code."""
    if show_trace:
        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPT_EXIT
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE_EXIT
    if isinstance(error, OSError):
        where = Path(error.filename) if error.filename else "standard output"
        # These stop a reader as well as a writer, and the error does not say which of them it was.
        is_either = error.filename and error.errno in (errno.EACCES, errno.EPERM, errno.EIO)
        done = "read or written" if is_either else "written"
        error = storage_error(error, where, done=done) or SeesayError(f"{where}: {error.strerror or error}.")
    assert isinstance(error, SeesayError)
    label = "stopped" if isinstance(error, Stopped) else "error"
    print(f"{label}: {' '.join(str(error).splitlines())}", file=sys.stderr)
    return error.exit_code


def _flush(code: int, *, show_trace: bool) -> int:
    """Flush standard output while a failure can still be told; an earlier failure keeps its own exit code."""
    if sys.stdout is None:
        return code
    try:
        sys.stdout.flush()
    except OSError as error:
        # The interpreter flushes once more at exit; nowhere is better than a second, uglier complaint.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code or _explain(error, show_trace=show_trace)
    return code

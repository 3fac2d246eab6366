"""`seesay completion`: verbs, options and their values on the Tab key; typer writes the scripts and answers them."""

import importlib
import os
import re
from collections.abc import Mapping
from typing import Annotated, Literal

import typer

PROGRAM = "seesay"
# The names by which typer's scripts ask: what is to be done, and the words so far in bash and in the others.
VARIABLE = "_SEESAY_COMPLETE"
WORDS = ("COMP_WORDS", "_TYPER_COMPLETE_ARGS")


def command(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(metavar="bash|zsh|fish", help="Your shell.")],
) -> None:
    """Print the lines that let a shell complete verbs, options and files.

    bash: seesay completion bash >> ~/.bashrc

    zsh: seesay completion zsh >> ~/.zshrc (below the line with compinit)

    fish: seesay completion fish > ~/.config/fish/completions/seesay.fish

    Example: seesay completion bash >> ~/.bashrc
    """
    os.environ[VARIABLE] = f"source_{shell}"
    try:
        complete({})
    finally:
        del os.environ[VARIABLE]


def complete(doors: Mapping[str, tuple[str, str]]) -> int:
    """Answer a script that asks through the environment; the options of the verb that it asks for are known."""
    app = typer.Typer(add_completion=True, rich_markup_mode=None)
    asked = next((os.environ[name] for name in WORDS if name in os.environ), "")
    for verb, (module, line) in doors.items():
        # Of the other verbs the name is enough, and this is waited for at every key.
        is_asked = re.match(rf"\S+\s+{verb}(\s|$)", asked) is not None
        app.command(verb, help=line)(importlib.import_module(module).command if is_asked else _nothing)
    app.callback()(_nothing)
    try:
        typer.main.get_command(app).main(args=[], prog_name=PROGRAM, complete_var=VARIABLE)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def _nothing() -> None:
    """In place of a verb that is not asked for."""

"""The reference of the command line: a page per verb, made from what `seesay VERB --help` is made from."""

import importlib
import re
from typing import Any, get_args

import typer
from typer.main import get_command

from seesay.cli.main import DOORS


def command_pages() -> dict[str, str]:
    """Path -> text, of the list of verbs and a page for each."""
    lines = [
        "# The command line",
        "",
        "`seesay VERB --help` says the same.",
        "",
        "| verb | what it does |",
        "|---|---|",
    ]
    lines += [f"| [`seesay {verb}`]({verb}.md) | {line} |" for verb, (_, line) in DOORS.items()]
    lines += ["", "`seesay --debug VERB ...` shows the trace of an error; `seesay --version` the version."]
    pages = {"reference/commands/index.md": "\n".join(lines) + "\n"}
    return pages | {f"reference/commands/{verb}.md": _page(verb, module) for verb, (module, _) in DOORS.items()}


def _page(verb: str, module: str) -> str:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(importlib.import_module(module).command)
    command = get_command(app)
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and one.name != "help"]
    words = " ".join(_name(one) for one in arguments)
    lines = [f"# seesay {verb}", "", "```text", f"seesay {verb} [OPTIONS] {words}".rstrip(), "```", ""]
    lines += [_paragraph(part) + "\n" for part in (command.help or "").strip().split("\n\n")]
    if arguments:
        lines += ["## Arguments", "", "| argument | what it is |", "|---|---|"]
        lines += [f"| `{_name(one)}` | {_cell(getattr(one, 'help', '') or '')} |" for one in arguments]
    if options:
        lines += ["", "## Options", "", "| option | value | what it does | default |", "|---|---|---|---|"]
        lines += [_option(one) for one in options]
    return "\n".join(lines) + "\n"


def _name(parameter: Any) -> str:
    return parameter.metavar or parameter.name.rstrip("_").upper()


def _paragraph(text: str) -> str:
    """A paragraph; a line that begins with "Example:" as code."""
    joined = " ".join(text.split())
    found = re.fullmatch(r"Example: (seesay .*)", joined)
    return f"```text\n$ {found[1]}\n```" if found else _cell(joined)


def _option(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in sorted(parameter.opts, key=len, reverse=True))
    choices = () if parameter.metavar else get_args(parameter.type_descriptor.annotation)
    choices = [choice for choice in choices if isinstance(choice, str)]
    kind = "" if parameter.is_flag else " or ".join(f"`{choice}`" for choice in choices or [_name(parameter)])
    default = parameter.default
    shown = "" if default in (None, False, (), []) or callable(default) else f"`{default}`"
    return f"| {names} | {kind.replace('|', chr(92) + '|')} | {_cell(parameter.help or '')} | {shown} |"


def _cell(text: str) -> str:
    return re.sub(r"[<>|*]", lambda found: {"<": "&lt;", ">": "&gt;"}.get(found[0], "\\" + found[0]), text)

"""The README is run. Every ```console and ```python block says how, in a comment on the line above its fence:

    <!-- test: fast -->   run by default
    <!-- test: slow -->   run by `make test-all`
    <!-- test: make -->   not run: the make targets it names must exist

A block without the comment fails the test, and so does shell in any other fence (```bash, ```sh, ...).

Blocks are run from top to bottom in one temporary folder, which holds copies of examples/ and recipes/, so that a
later block can use what an earlier one made; the slow test runs the fast blocks too, in their places. `seesay` and
`python` are those of this environment.

In a console block each line that begins with `$ ` is a command, run by bash on its own (a `cd` does not last) and
continued by a line after a backslash. It must exit with 0. The lines below it, if there are any, are what it must
print to standard output and standard error together; `...` in them stands for anything, a line of only `...` for any
lines. A make block may also hold `git clone` and `cd`.

A python block is a program of its own and must exit with 0.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
README = HOUSE / "README.md"
MARK = re.compile(r"<!-- test: (fast|slow|make) -->")
SHELL = {"bash", "sh", "shell", "zsh", "shell-session", "pycon", "py"}
TIMEOUT_S = {"fast": 600, "slow": 900}


@dataclass(frozen=True, kw_only=True)
class Block:
    line: int
    language: str
    mark: str | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Command:
    words: str
    expected: str


def blocks_of(readme: str) -> list[Block]:
    """Every fenced block, in order."""
    blocks, lines = [], readme.splitlines()
    start = None
    for number, line in enumerate(lines):
        if start is None and line.startswith("```"):
            start = number
        elif start is not None and line.strip() == "```":
            marked = MARK.fullmatch(lines[start - 1].strip()) if start else None
            blocks.append(
                Block(
                    line=start + 1,
                    language=lines[start][3:].strip(),
                    mark=marked[1] if marked else None,
                    text="\n".join(lines[start + 1 : number]),
                )
            )
            start = None
    assert start is None, f"the fence at line {start + 1} is never closed"
    return blocks


def commands_of(block: Block) -> list[Command]:
    """The commands of a console block, each with the output it promises ("" promises nothing)."""
    commands: list[Command] = []
    continued = False
    for line in block.text.splitlines():
        if continued:
            last = commands.pop()
            commands.append(Command(words=f"{last.words}\n{line}", expected=""))
        elif line.startswith("$ "):
            commands.append(Command(words=line[2:], expected=""))
        else:
            assert commands, f"README.md:{block.line}: a console block begins with a command, as in `$ seesay --help`"
            last = commands.pop()
            commands.append(Command(words=last.words, expected=f"{last.expected}{line}\n"))
        continued = line.endswith("\\") and (continued or line.startswith("$ "))
    return commands


def is_as_promised(expected: str, printed: str) -> bool:
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else ".*?".join(re.escape(part) for part in line.split("...")) + r"\n"
        for line in expected.rstrip("\n").splitlines()
    )
    lines = [line.rstrip() for line in printed.rstrip("\n").splitlines()]
    return re.fullmatch(pattern, "\n".join(lines) + "\n") is not None


def unmarked(blocks: list[Block]) -> list[str]:
    problems = []
    for block in blocks:
        if block.language in SHELL:
            problems.append(f"README.md:{block.line}: write {block.language!r} as console or python, so that it is run")
        elif block.language in ("console", "python") and block.mark is None:
            problems.append(f"README.md:{block.line}: say above the fence how it is run: <!-- test: fast|slow|make -->")
    return problems


def unknown_targets(block: Block, makefile: str) -> list[str]:
    known = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    problems = []
    for command in commands_of(block):
        program, *words = command.words.split("#")[0].split()
        if program == "make":
            targets = [word for word in words if "=" not in word and not word.startswith("-")]
            problems += [
                f"README.md:{block.line}: make has no target {word!r}" for word in targets if word not in known
            ]
        elif program != "cd" and [program, *words[:1]] != ["git", "clone"]:
            problems.append(f"README.md:{block.line}: {program!r} is not make; mark the block fast or slow")
    return problems


def run_blocks(blocks: list[Block], folder: Path) -> None:
    for name in ("examples", "recipes"):
        shutil.copytree(HOUSE / name, folder / name)
    scripts = sysconfig.get_path("scripts")
    environment = {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HF_HUB_OFFLINE": "1",
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }
    for block in blocks:
        assert block.mark in TIMEOUT_S
        commands = commands_of(block) if block.language == "console" else [Command(words=block.text, expected="")]
        program = ["bash", "-c"] if block.language == "console" else [sys.executable, "-c"]
        for command in commands:
            done = subprocess.run(
                [*program, command.words], check=False, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT_S[block.mark],
            )  # fmt: skip
            told = f"README.md:{block.line}: {command.words}\nprinted:\n{done.stdout}"
            assert done.returncode == 0, f"exit {done.returncode} of {told}"
            if command.expected:
                assert is_as_promised(command.expected, done.stdout), (
                    f"{told}\nbut the README says:\n{command.expected}"
                )


@pytest.fixture
def readme():
    if not README.exists():
        pytest.skip("README.md is not written yet")
    return blocks_of(README.read_text(encoding="utf-8"))


@pytest.fixture
def installed():
    if not shutil.which("seesay", path=sysconfig.get_path("scripts")):
        pytest.skip("seesay is not installed in this environment; `make test` does")


def test_every_block_says_how_it_is_run(readme):
    assert unmarked(readme) == []


def test_every_make_target_of_the_readme_exists(readme):
    makefile = (HOUSE / "Makefile").read_text()
    assert [problem for block in readme if block.mark == "make" for problem in unknown_targets(block, makefile)] == []


def test_the_package_shows_the_readme(readme):
    assert tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"].get("readme") == "README.md"


@pytest.mark.journey
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("installed")
def test_the_fast_blocks_do_what_they_say(readme, tmp_path):
    run_blocks([block for block in readme if block.mark == "fast"], tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("installed")
def test_all_blocks_do_what_they_say(readme, tmp_path):
    run_blocks([block for block in readme if block.mark in TIMEOUT_S], tmp_path)


# The convention itself.

SAMPLE = """\
<!-- test: fast -->
```console
$ echo one; \\
  echo two
one
two
$ mkdir made
```
<!-- test: fast -->
```python
import os
assert os.listdir("made") == []
```
```console
$ echo unmarked
```
```toml
nothing = "to run"
```
"""


def console(text, mark="fast"):
    return Block(line=1, language="console", mark=mark, text=text)


def test_blocks_and_commands_are_found():
    blocks = blocks_of(SAMPLE)
    assert [(block.line, block.language, block.mark) for block in blocks] == [
        (2, "console", "fast"),
        (10, "python", "fast"),
        (14, "console", None),
        (17, "toml", None),
    ]
    assert commands_of(blocks[0]) == [
        Command(words="echo one; \\\n  echo two", expected="one\ntwo\n"),
        Command(words="mkdir made", expected=""),
    ]


def test_an_unmarked_block_and_shell_in_another_fence_are_found():
    assert [problem.split(":")[1] for problem in unmarked(blocks_of(SAMPLE + "```bash\nls\n```\n"))] == ["14", "20"]


def test_blocks_run_in_order_in_one_folder(tmp_path):
    run_blocks(blocks_of(SAMPLE)[:2], tmp_path)


@pytest.mark.parametrize("text", ["$ false", "$ echo a\nb", "$ seesay-does-not-exist"])
def test_a_command_that_fails_or_prints_something_else_fails(tmp_path, text):
    with pytest.raises(AssertionError, match=r"README\.md:1"):
        run_blocks([console(text)], tmp_path)


def test_a_python_block_that_raises_fails(tmp_path):
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_blocks([Block(line=1, language="python", mark="fast", text="1 / 0")], tmp_path)


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a 0.93", "a 0.93\n", True),
        ("a 0.9...", "a 0.93\n", True),
        ("a 0.8...", "a 0.93\n", False),
        ("a\n...\nd", "a\nb\nc\nd\n", True),
        ("a\n...", "a\n", True),
        ("a", "a\nb\n", False),
    ],
)
def test_dots_stand_for_anything(expected, printed, same):
    assert is_as_promised(expected, printed) is same


def test_a_make_block_names_existing_targets_and_nothing_else():
    makefile = "demo: x\ntest-all:\n"
    assert (
        unknown_targets(console("$ git clone a b\n$ cd b\n$ make demo VENV=v  # two minutes", "make"), makefile) == []
    )
    assert unknown_targets(console("$ make\n$ make test-all", "make"), makefile) == []
    assert len(unknown_targets(console("$ make dmeo\n$ rm -rf b\n$ git push", "make"), makefile)) == 3

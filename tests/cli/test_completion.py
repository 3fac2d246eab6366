"""The Tab key: `seesay completion SHELL` prints typer's script, and what the script asks is answered without torch."""

import os
import subprocess
import sys

import pytest

from seesay.cli import main as cli
from seesay.cli.completion import VARIABLE


def completed(words, monkeypatch, capfd):
    monkeypatch.setenv(VARIABLE, "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "seesay " + words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" "))))
    assert cli.main([]) == 0
    return capfd.readouterr().out.split()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("tr", ["train"]),
        ("c", ["classify", "compare", "curate", "convert", "completion"]),
        ("train --mi", ["--minutes", "--micro-batch"]),
        ("sea", ["search"]),
        ("search photos --format p", ["paths"]),
        ("doctor photos/ --max", ["--max-bad"]),
        ("probe --metric m", ["mean-per-class", "map11"]),
        ("serve --weights-dtype b", ["bfloat16"]),
        ("convert a b --to ", ["seesay", "hf", "open_clip"]),
        ("classify pho", []),
    ],
)
def test_verbs_options_and_their_values_are_completed(words, found, monkeypatch, capfd):
    assert completed(words, monkeypatch, capfd) == found


@pytest.mark.parametrize(
    ("shell", "line"), [("bash", "complete -o default -F"), ("zsh", "#compdef seesay"), ("fish", "complete --command")]
)
def test_each_shell_has_its_script(shell, line, capfd):
    assert cli.main(["completion", shell]) == 0
    assert line in capfd.readouterr().out and VARIABLE not in os.environ


def test_another_shell_is_refused_in_one_line(capfd):
    assert cli.main(["completion", "tcsh"]) == 2
    message = capfd.readouterr().err
    assert message.startswith("error: Invalid value for 'bash|zsh|fish': 'tcsh' is not one of 'bash', 'zsh', 'fish'.")


@pytest.mark.journey
def test_bash_completes_with_the_script_and_loads_no_torch(tmp_path):
    """The function of the script is called as bash calls it on the Tab key; `seesay` is this Python."""
    program = tmp_path / "seesay"
    check = "import sys; from seesay.cli.main import main; main(); sys.exit('torch' in sys.modules)"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{check}" "$@"\n')
    program.chmod(0o755)
    script = """
        eval "$(seesay completion bash)"
        COMP_WORDS=(seesay classify --prep); COMP_CWORD=2
        _seesay_completion seesay && echo "${COMPREPLY[@]}"
    """
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], check=False, capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr) == ("--preprocess\n", "")

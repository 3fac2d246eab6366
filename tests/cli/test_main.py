import errno
import os
import pty
import resource
import signal
import subprocess
import sys
import textwrap
from importlib.metadata import PackageNotFoundError, version

import pytest

import seesay
from seesay.base.streams import REDRAW, end_line, say
from seesay.cli import main as cli

DOOR = '''
import errno, json, os, sys, tempfile, time
from pathlib import Path
from typing import Annotated
import typer
from seesay.base.errors import Interrupted, RefusedInput, Stopped, UsageError
from seesay.base.streams import REDRAW, say

def command(
    what: Annotated[str, typer.Argument(help="what to do")],
    times: Annotated[int, typer.Option(help="how often")] = 1,
) -> None:
    """Do a thing for a test."""
    print("begun")
    if what == "refuse":
        raise RefusedInput("a.pt is a pickle;\\nconvert it")
    if what == "stop":
        raise Stopped("stopped at step 3; the same command goes on")
    if what == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/a")
    if what == "missing":
        Path("nowhere.txt").read_text()
    if what == "pipe":
        print("x" * 1_000_000)
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "exit":
        raise typer.Exit(7)
    if what == "bug":
        raise ZeroDivisionError("ours")
    if what == "name":
        print("caf\\udce9.jpg")
    if what == "say":
        say("a remark")
    if what == "warn":
        import warnings
        warnings.warn("texts are cut at 8 tokens")
    if what == "nested":
        open("deep.json", "w").write("[" * 200_000)
        json.load(open("deep.json"))
    if what == "memory":
        bytearray(1 << 62)
    if what == "tensors":
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
    if what == "library":
        raise ImportError("libtorch_cpu.so: failed to map segment from shared object")
    if what == "temporary":
        tempfile.tempdir = None
        tempfile._candidate_tempdir_list = lambda: ["/nowhere"]
        tempfile.TemporaryFile()
    if what == "progress":
        say("train  50%", start=REDRAW, end="")
    if what in ("wait", "progress"):
        sys.stdout.flush()
        time.sleep(60)
    print("done", times)
'''


@pytest.fixture
def command_line(tmp_path):
    """The words that start a `seesay` whose only verbs are `try` (the door above) and `evaluate`."""
    (tmp_path / "try_door.py").write_text(DOOR)
    program = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from seesay.cli import main as cli
        cli.DOORS = {{"try": ("try_door", "try it"), "evaluate": ("never_imported", "measure")}}
        sys.exit(cli.main())
        """
    )
    return [sys.executable, "-c", program]


@pytest.fixture
def run(command_line):
    def run(*words, **rest):
        environment = {**os.environ, "PYTHONUNBUFFERED": "", **rest.pop("env", {})}
        return subprocess.run(
            [*command_line, *words], check=False, capture_output="stdout" not in rest, text=True, timeout=500,
            env=environment, **rest,
        )  # fmt: skip

    return run


def test_help_lists_every_verb_and_is_quick_and_never_loads_torch():
    checked = textwrap.dedent(
        """
        import resource, sys
        from seesay.cli.main import main
        code = main(["--help"])
        used = resource.getrusage(resource.RUSAGE_SELF)
        heavy = [name for name in ("torch", "numpy", "typer", "rich", "pydantic") if name in sys.modules]
        print(used.ru_utime + used.ru_stime, *heavy, file=sys.stderr)
        sys.exit(code)
        """
    )
    runs = [
        subprocess.run([sys.executable, "-c", checked], check=True, capture_output=True, text=True) for _ in range(3)
    ]
    for verb, (_, line) in cli.DOORS.items():
        assert f"  {verb}" in runs[0].stdout
        assert line in runs[0].stdout
    assert [done.stderr.split()[1:] for done in runs] == [[], [], []]
    assert min(float(done.stderr.split()[0]) for done in runs) < 0.3


@pytest.mark.journey
@pytest.mark.parametrize("verb", cli.DOORS)
def test_every_door_opens_and_explains_itself_without_torch(verb):
    checked = textwrap.dedent(
        """
        import sys
        from seesay.cli.main import main
        code = main([sys.argv[1], "--help"])
        sys.exit("torch was loaded" if "torch" in sys.modules else code)
        """
    )
    done = subprocess.run([sys.executable, "-c", checked, verb], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: seesay {verb}")


def test_the_help_of_a_verb_is_its_docstring_and_its_options(run):
    done = run("try", "--help")
    assert done.returncode == 0
    assert "usage: seesay try [options]" in done.stdout.lower()
    assert "Do a thing for a test." in done.stdout
    assert "how often" in done.stdout
    assert "completion" not in done.stdout


def test_a_verb_runs_with_its_options(run):
    done = run("try", "it", "--times", "3")
    assert (done.returncode, done.stdout, done.stderr) == (0, "begun\ndone 3\n", "")


def test_version_is_the_one_of_the_package(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"seesay {seesay.__version__}\n"
    try:
        installed = version("seesay")
    except PackageNotFoundError:
        pytest.skip("seesay is not installed in this environment; `make test` does")
    assert installed == seesay.__version__


@pytest.mark.journey
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["evalute"], "error: 'evalute' is not a verb of seesay; `seesay --help` lists them. Nearest: evaluate.\n"),
        (["--verzion"], "error: '--verzion' is not an option of seesay; `seesay --help` lists them. "
                        "Nearest: --version.\n"),
        (["try"], "error: Missing argument 'what'. See `seesay try --help`.\n"),
        (["try", "it", "--times", "x"], "error: Invalid value for '--times': "),
        (["try", "it", "--tims", "3"], "error: No such option: --tims"),
    ],
)  # fmt: skip
def test_wrong_words_are_answered_in_one_line_with_exit_2(run, words, line):
    done = run(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(line)
    assert done.stderr.endswith(".\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"], ["help", "help"], ["help", "-h"]])
def test_help_is_found_in_every_spelling(words, capsys):
    assert cli.main(words) == 0
    assert capsys.readouterr().out.startswith("Usage: seesay [--debug] VERB ...")


@pytest.mark.parametrize("words", [["help", "models"], ["models", "-h"], ["models", "--help"]])
def test_the_help_of_a_verb_is_found_in_every_spelling(words, capsys):
    assert cli.main(words) == 0
    assert capsys.readouterr().out.startswith("Usage: seesay models")


@pytest.mark.parametrize(("words", "near"), [(["help", "trian"], "train"), (["hlep"], "help"), (["xyzzy"], None)])
def test_a_verb_that_is_none_is_answered_with_one_that_is_near_or_with_none(words, near, capsys):
    assert cli.main(words) == 2
    assert capsys.readouterr().err.endswith(f" Nearest: {near}.\n" if near else "`seesay --help` lists them.\n")


def test_no_words_at_all_show_the_help_and_exit_2(capsys):
    assert cli.main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("Usage: seesay")


@pytest.mark.journey
@pytest.mark.parametrize(
    ("what", "code", "line"),
    [
        ("refuse", 4, "error: a.pt is a pickle; convert it\n"),
        ("stop", 75, "stopped: stopped at step 3; the same command goes on\n"),
        ("missing", 1, "error: nowhere.txt: No such file or directory.\n"),
        ("interrupt", 130, ""),
        ("exit", 7, ""),
    ],
)
def test_an_outcome_is_one_line_and_an_exit_code(run, what, code, line):
    done = run("try", what)
    assert (done.returncode, done.stdout, done.stderr) == (code, "begun\n", line)


def test_a_full_disk_ends_with_5(run):
    done = run("try", "full")
    assert done.returncode == 5
    assert done.stderr.startswith("error: runs/a cannot be written: the disk is full (")


@pytest.mark.journey
@pytest.mark.parametrize(
    ("what", "code", "start"),
    [
        ("nested", 4, "error: an input is nested too deeply to be read"),
        ("memory", 1, "error: there is not enough memory (MemoryError)"),
        ("tensors", 1, "error: there is not enough memory (DefaultCPUAllocator: can't allocate memory: "),
        ("library", 1, "error: a library cannot be loaded (libtorch_cpu.so: failed to map segment"),
        ("temporary", 5, "error: No usable temporary directory found in ['/nowhere']; set TMPDIR to a folder"),
    ],
)
def test_what_the_system_refuses_is_one_line(run, tmp_path, what, code, start):
    done = run("try", what, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "begun\n")
    assert done.stderr.startswith(start)
    assert done.stderr.count("\n") == 1


@pytest.mark.journey
def test_a_removed_working_folder_is_one_line(command_line, tmp_path):
    words = ["sh", "-c", 'mkdir gone && cd gone && rmdir ../gone && "$@"', "sh", *command_line, "try", "it"]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=500, cwd=tmp_path)
    line = "error: the working folder has been removed; go to another one with cd.\n"
    assert (done.returncode, done.stdout, done.stderr) == (5, "", line)


@pytest.mark.journey
def test_little_memory_for_the_libraries_is_one_line():
    """`ulimit -v 300000`, in kilobytes: torch does not fit in it."""
    done = subprocess.run(
        [sys.executable, "-m", "seesay", "classify", ".", "cat", "dog"],
        check=False, capture_output=True, text=True, timeout=500,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (300_000 << 10, 300_000 << 10)),
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: a library cannot be loaded (")
    assert done.stderr.count("\n") == 1


def test_our_own_mistakes_keep_their_trace(run):
    done = run("try", "bug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError: ours" in done.stderr


@pytest.mark.journey
def test_debug_shows_the_trace_and_the_same_line_and_code(run):
    plain = run("try", "refuse")
    for done in (run("--debug", "try", "refuse"), run("try", "refuse", env={"SEESAY_DEBUG": "1"})):
        assert done.returncode == 4
        assert "Traceback" in done.stderr
        assert done.stderr.endswith(plain.stderr)


def test_a_progress_line_is_ended_before_anything_else_is_said(capsys):
    say("train  50%", start=REDRAW, end="")
    say("stopped: at step 3")
    say("train  60%", start=REDRAW, end="")
    end_line()
    end_line()
    say("train  70%", start=REDRAW, end="")
    say("", start=REDRAW, end="")
    say("done")
    lines = "train  50%|stopped: at step 3|train  60%|train  70%done|"
    assert capsys.readouterr().err.replace(REDRAW, "").replace("\n", "|") == lines


def test_ctrl_c_ends_a_progress_line(command_line):
    with subprocess.Popen(
        [*command_line, "try", "progress"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as child:
        line = REDRAW.encode() + b"train  50%"
        assert child.stderr.read(len(line)) == line
        child.send_signal(signal.SIGINT)
        _, messages = child.communicate(timeout=500)
    assert (child.returncode, messages) == (130, b"\n")


def test_what_follows_ctrl_c_on_a_terminal_begins_a_line_below_its_echo(command_line):
    terminal, slave = pty.openpty()
    with subprocess.Popen(
        [*command_line, "try", "wait"],
        stdout=subprocess.PIPE,
        stderr=slave,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as child:
        os.close(slave)
        assert child.stdout.readline() == b"begun\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=500) == 130
    assert os.read(terminal, 100) == b"\r\n"
    os.close(terminal)


def test_ctrl_c_is_silent(command_line):
    with subprocess.Popen(
        [*command_line, "try", "wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell starts what runs in its background with Ctrl-C ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as child:
        assert child.stdout.readline() == b"begun\n"
        child.send_signal(signal.SIGINT)
        out, told = child.communicate(timeout=500)
    assert (child.returncode, out, told) == (130, b"", b"")


@pytest.mark.journey
@pytest.mark.parametrize("what", ["it", "pipe"])
def test_a_reader_that_left_ends_the_command_quietly(command_line, what):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*command_line, "try", what], check=False, stdout=writer, stderr=subprocess.PIPE, timeout=500)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.journey
@pytest.mark.parametrize(("what", "code"), [("it", 5), ("pipe", 5), ("refuse", 4)])
def test_a_full_standard_output_is_not_a_success(run, what, code):
    with open("/dev/full", "w") as full:
        done = run("try", what, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == code
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    if code == 5:
        told = "error: standard output cannot be written: the disk is full; free some space or choose another path."
        assert done.stderr == told + "\n"


@pytest.mark.journey
def test_a_warning_is_one_line_without_the_place_in_our_code(run):
    done = run("try", "warn")
    assert (done.returncode, done.stderr) == (0, "warning: texts are cut at 8 tokens\n")


@pytest.mark.journey
def test_a_closed_standard_output_is_told_before_the_work(command_line, tmp_path):
    words = ["sh", "-c", '"$@" >&-', "sh", *command_line, "try", "it"]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=500)
    line = "error: standard output is closed; send it to a file, or to /dev/null.\n"
    assert (done.returncode, done.stdout, done.stderr) == (5, "", line)


@pytest.mark.journey
def test_a_standard_output_that_is_open_for_reading_only_is_storage_too(run):
    with open("/dev/null") as null:
        done = run("try", "it", stdout=null, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (5, "error: standard output cannot be written: Bad file descriptor.\n")


@pytest.mark.journey
@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full", "2</dev/null", "<&- 2>&-"])
@pytest.mark.parametrize(("what", "code"), [("say", 0), ("refuse", 4), ("bug", 1)])
def test_a_closed_or_full_standard_error_costs_messages_and_neither_work_nor_code(command_line, stderr, what, code):
    words = ["sh", "-c", f'"$@" {stderr}', "sh", *command_line, "try", what]
    done = subprocess.run(words, check=False, stdout=subprocess.PIPE, text=True, timeout=500)
    assert (done.returncode, done.stdout) == (code, "begun\ndone 1\n" if code == 0 else "begun\n")


def test_help_on_a_full_standard_output_is_not_a_success_either():
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "seesay", "--help"]
        done = subprocess.run(words, check=False, stdout=full, stderr=subprocess.PIPE, timeout=500)
    assert done.returncode == 5


def test_a_file_name_that_is_not_utf8_can_be_printed(run):
    done = run("try", "name")
    assert (done.returncode, done.stdout) == (0, "begun\ncaf\\udce9.jpg\ndone 1\n")


def test_python_m_seesay_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "seesay", "trian"], check=False, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 2
    assert "Nearest: train." in done.stderr


def test_a_storage_error_without_a_path_does_not_invent_one(monkeypatch, capsys):
    def fail(words):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(cli, "_run", fail)
    assert cli.main(["train"]) == 5
    assert capsys.readouterr().err.startswith("error: a file cannot be written: the file system is read-only")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["search", "two dogs", "DIR"], "there is no 'two dogs', and photos come first|seesay search DIR 'two dogs'"),
        (["explain", "cat", "DIR/1.png"], "there is no 'cat', and photos come first|seesay explain DIR/1.png cat"),
        (
            ["audit", "DIR", "box", "--groups", "g.csv"],
            "'DIR' is no model, and the model comes first|seesay audit box DIR",
        ),
        (["finetune", "DIR", "box"], "'DIR' is no model, and the model comes first|seesay finetune box DIR"),
    ],
)
def test_words_in_another_order_are_shown_in_the_right_one(words, meant, tmp_path, paint, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DIR").mkdir()
    paint(tmp_path / "DIR" / "1.png", "red")
    assert cli.main(words) == 2
    assert capsys.readouterr().err == f"error: {meant.replace('|', '; did you mean: ')}\n"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["train", "x", "--image-size", "80"], "--set schedule.sizes=VALUE"),
        (["finetune", "box", "x", "--lr", "1"], "--lr. Nearest: --set optimizer.learning_rate=VALUE. See"),
        (["train", "x", "--image-size", "8"], "--batch-size, --set schedule.sizes=VALUE."),
        (["doctor", "x", "--num-workers", "2"], "Nearest: --workers, --set data.workers=VALUE"),
        (["classify", "x", "--topk", "3"], "Nearest: --top. See"),
        (["search", "x", "a", "dog"], "several words for one stand in quotes"),
    ],
)
def test_an_option_that_there_is_not_is_answered_with_options_and_settings_that_are_near(words, hint, capsys):
    assert cli.main(words) == 2
    assert hint in capsys.readouterr().err

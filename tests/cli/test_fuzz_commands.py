"""Command lines at random, built from what every verb declares: each ends with a documented code and no trace.

They run one after the other in a process of their own. `SEESAY_FUZZ_SECONDS` is how long (default 60), the seed is
fixed, and a failure shows the words to run again. What takes longer than `PATIENCE` gets Ctrl-C, and has to end.
"""

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
import typing
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from seesay.base.printable import LONGEST, UNSEEN
from seesay.base.settings import Settings
from seesay.cli import main as cli
from seesay.model.build import build
from seesay.training.settings import TrainSettings

SECONDS = float(os.environ.get("SEESAY_FUZZ_SECONDS", "60"))
SEED = 12
# Seconds a command may take before Ctrl-C, and after it; the second is for a very busy machine.
PATIENCE, LAST = 15, 120
DOCUMENTED = {0, 1, 2, 3, 4, 5, 75, 130}

SERVER = """
import json, os, resource, signal, sys, traceback
resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, 6 << 30))
requests, answers = os.fdopen(int(sys.argv[1])), os.fdopen(int(sys.argv[2]), "w")
signal.signal(signal.SIGINT, signal.SIG_IGN)
from seesay.cli.main import main
for line in requests:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code, trace = main(json.loads(line)), ""
    except BaseException:
        code, trace = None, traceback.format_exc()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print(json.dumps([code, trace]), file=answers, flush=True)
"""

HOSTILE = [
    "", " ", "-", "--", "=", "a=", "=b", "$q_{$", "\x1b[31m", "\u202e", "\udce9", "x" * 5000, "猫", "{}", "%s", "a,b",
    "1,2,4", "../..", "None", "null", "true", "[", "hf:", "hf:a", "box", "*", "[!", "~nobody/x", "\n", "a/b", "sweep",
    "cpu:200", "cpu:99999999999", "cuda:9", "1,٣", "9" * 5000, "cat=0.3", "1,2",
]  # fmt: skip
NUMBERS = [
    "1", "1", "2", "2", "3", "4", "0.25", "0", "-1", "0.5", "1e-3", "1.0", "nan", "inf", "-inf", "1e400", "1e-400",
    "٣", "0x10", "1_0", "+1", "99999999999999999999", "9" * 5000, "1e9",
]  # fmt: skip
RECIPE = """objectives = ["contrastive-bow"]
images = 8
points = 1
learning_rates = [1e-3]
seeds = [0]
pairs = ["pairs"]
check = "photos"
[train]
model = "conv-tiny"
batch_size = 4
"""
# Arguments that each verb can work with, and options that keep its work short.
FIT = {
    "train": [["pairs"], ["pairs.csv"], ["pairs", "pairs.csv"]],
    "doctor": [["pairs"], ["pairs.csv"]],
    "classify": [["photos", "red", "blue"], ["photos/*/*.png", "$red$", "blue"], ["photos", "--calibrate", "photos"]],
    "evaluate": [["box", "photos"], ["box", "model", "photos"], ["model", "pairs"], ["model", "photos", "pairs"]],
    "compare": [["recipe.toml", "--out", "new"]],
    "probe": [["photos", "photos"]],
    "convert": [["model", "new"], ["box", "new2", "--to", "seesay"], ["broken.pt", "new3", "--from-pickle"]],
    "models": [[]],
    "completion": [["bash"], ["fish"]],
}
SHORT = {
    "train": ["--model", "conv-tiny", "--steps", "2", "--batch-size", "4", "--workers", "0"],
    "doctor": ["--model", "conv-tiny", "--steps", "2", "--batch-size", "4", "--seconds", "1"],
    "compare": ["--jobs", "1"],
}


def declared(verb):
    """The arguments and options of a verb, as the command line itself reads them."""
    app = typer.Typer(add_completion=False)
    app.command()(__import__(cli.DOORS[verb][0], fromlist=["command"]).command)
    return [parameter for parameter in get_command(app).params if parameter.name != "help"]


def keys(group, above=""):
    """Every setting of a run by its path."""
    for name, field in group.model_fields.items():
        yield above + name
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, Settings):
                yield from keys(kind, f"{above}{name}.")


@pytest.fixture
def paths(tmp_path, coloured_pairs, paint):
    """Words for what is in the working folder: what the verbs read, what they cannot, and what is not there."""
    coloured_pairs(12)
    for colour in ("red", "blue", "$green$"):
        for number in range(2):
            paint(tmp_path / "photos" / colour / f"{number}.png", colour.strip("$"))
    build("conv-tiny").save(tmp_path / "model")
    (tmp_path / "labels.txt").write_text("red\nblue\n")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    rows = "\n".join(f"pairs/{number:03}.png,a square" for number in range(8))
    (tmp_path / "pairs.csv").write_text(f"image,caption\n{rows}\n")
    for suffix in ("png", "csv", "tsv", "tar", "parquet", "safetensors", "pt", "json", "toml", "txt"):
        (tmp_path / f"broken.{suffix}").write_bytes(b"\x00\xff{[<\x1b" * 40)
        (tmp_path / f"empty.{suffix}").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nothing").mkdir()
    return [
        *(path.name for path in tmp_path.iterdir()),
        "missing",
        "missing/x.json",
        "photos/*/*.png",
        "new",
        "new.csv",
    ]


class CommandLines:
    """Words for a verb at random: some of its options, with values that fit and values that do not."""

    def __init__(self, paths):
        self.random = random.Random(SEED)
        self.paths = paths
        self.settings = list(keys(TrainSettings))
        self.parameters = {verb: declared(verb) for verb in cli.DOORS}

    def next(self):
        verb = self.random.choice(list(cli.DOORS))
        is_fit = self.random.random() < 0.4
        arguments, options = list(self.random.choice(FIT[verb])) if is_fit else [], []
        for parameter in self.parameters[verb]:
            if parameter.param_type_name == "option":
                if self.random.random() < 0.15:
                    options.append(self.option(parameter))
            elif not is_fit:
                count = self.random.choice([0, 1, 1, 1, 2, 3]) if parameter.nargs == -1 else 1
                arguments += [self.path() for _ in range(count)]
        self.random.shuffle(options)
        # Work that is short, unless a later option says otherwise.
        return [verb, *arguments, *SHORT.get(verb, ()), *(word for option in options for word in option)]

    def option(self, parameter):
        name, kind = self.random.choice(parameter.opts), parameter.type_descriptor.annotation
        if getattr(parameter, "is_flag", False):
            return [name]
        if name == "--set" and self.random.random() < 0.8:
            value = (
                f"{self.random.choice(self.settings)}={self.random.choice([*NUMBERS, *HOSTILE, '[]', '{}', '{a=1}'])}"
            )
        elif self.random.random() < 0.2:
            value = self.random.choice(HOSTILE)
        elif choices := typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ():
            value = self.random.choice(choices)
        elif kind in (int, float):
            value = self.random.choice(NUMBERS)
        else:
            value = self.path()
        return [f"{name}={value}"] if self.random.random() < 0.3 and name.startswith("--") else [name, value]

    def path(self):
        return self.random.choice(self.paths if self.random.random() < 0.8 else HOSTILE)


class Server:
    """The process that runs command lines, and begins anew after one that had to be interrupted."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.child = None

    def run(self, words) -> tuple[int | None, str]:
        """(exit code, what is wrong: the trace of an exception, or how it did not end)."""
        if self.child is None:
            self.begin()
        self.requests.write(json.dumps(words) + "\n")
        self.requests.flush()
        is_late = not self.answers_within(PATIENCE)
        if is_late:
            self.child.send_signal(signal.SIGINT)
            if not self.answers_within(LAST):
                self.end()
                return None, "did not end after Ctrl-C"
        line = self.answers.readline()
        if line:
            code, wrong = json.loads(line)
        else:  # Ctrl-C in an import ends the process
            code = self.child.wait()
            wrong = "" if is_late and code == 130 else "ended the process"
        if is_late or not line:
            self.end()
        return code, wrong or wrong_with(self.messages())

    def begin(self):
        theirs, requests = os.pipe()
        answers, ours = os.pipe()
        self.requests, self.answers = os.fdopen(requests, "w"), os.fdopen(answers)
        self.errors = Path(f"{self.folder}.stderr").open("w+b")  # noqa: SIM115 - closed in `end`
        command = [sys.executable, "-c", SERVER, str(theirs), str(ours)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "SEESAY_CACHE": str(self.folder / "cache")}
        self.child = subprocess.Popen(
            command, cwd=self.folder, env=environment, pass_fds=(theirs, ours), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.errors,
        )  # fmt: skip
        os.close(theirs)
        os.close(ours)
        self.read = 0

    def end(self):
        if self.child is not None:
            self.last = self.messages()
            self.child.kill()
            self.child.wait()
            for file in (self.requests, self.answers, self.errors):
                file.close()
            self.child = None

    def answers_within(self, seconds):
        return bool(select.select([self.answers], [], [], seconds)[0])

    def messages(self):
        """What was written to standard error since the last call."""
        if self.child is None:
            return self.last
        new = os.pread(self.errors.fileno(), 1 << 20, self.read)
        self.read += len(new)
        return new.decode("utf-8", "replace")


def wrong_with(messages):
    """What is wrong with the messages of a command; "" where they are lines that a person can read."""
    if "Traceback (most recent call last)" in messages:
        return messages[-3000:]
    if unseen := {letter for letter in messages if unicodedata.category(letter) in UNSEEN} - {"\n", "\t"}:
        return f"characters that are not seen: {unseen}"
    longest = max(map(len, messages.splitlines()), default=0)
    return f"a line of {longest} characters" if longest > LONGEST + len("error: ") else ""


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 600)
def test_no_command_line_ends_in_a_trace_or_with_a_code_that_is_not_documented(tmp_path, paths):
    lines, server = CommandLines(paths), Server(tmp_path)
    failures, codes = [], Counter()
    ends_at = time.monotonic() + SECONDS
    try:
        while time.monotonic() < ends_at and len(failures) < 10:
            words = lines.next()
            code, wrong = server.run(words)
            codes[code] += 1
            if wrong or code not in DOCUMENTED:
                failures.append(f"{words!a}\n  exit {code}: {wrong}")
    finally:
        server.end()
    print(f"{codes.total()} command lines with seed {SEED}; exit codes {dict(sorted(codes.items(), key=str))}")
    assert not failures, "\n\n".join(failures)

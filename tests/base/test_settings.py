import json
import tomllib
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

from seesay.base.errors import UsageError
from seesay.base.settings import Settings, as_toml, difference, read_settings


class Optimizer(Settings):
    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(default=0.001, gt=0)
    betas: tuple[float, float] = (0.9, 0.98)


class Schedule(Settings):
    warmup: float = Field(default=0.1, ge=0, le=1)
    steps: int = 500
    warmup_steps: int = 10

    @model_validator(mode="after")
    def _warmup_fits(self):
        if self.warmup_steps >= self.steps:
            raise ValueError(
                f"schedule.warmup_steps is {self.warmup_steps}, but the run has {self.steps} steps; "
                f"set it between 0 and {self.steps - 1}"
            )
        return self


class Run(Settings):
    seed: int = 0
    note: str = ""
    shuffle: bool = True
    limit: int | None = None
    out: Path = Path("runs/first")
    words: tuple[str, ...] = ()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    final: Schedule | None = None


def read(*overrides, toml=None, base=None, tmp_path=None):
    file = None
    if toml is not None:
        file = tmp_path / "run.toml"
        file.write_text(toml, encoding="utf-8")
    return read_settings(Run, file=file, overrides=overrides, base=base)


def complaint(*overrides, **rest):
    with pytest.raises(UsageError) as caught:
        read(*overrides, **rest)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_override_wins_over_the_file_and_the_file_over_the_base(tmp_path):
    settings = read(
        "optimizer.lr=0.3",
        toml="seed = 2\n[optimizer]\nlr = 0.2\n",
        base={"seed": 1, "note": "kept", "optimizer": {"lr": 0.1, "name": "sgd"}},
        tmp_path=tmp_path,
    )
    assert (settings.seed, settings.note, settings.optimizer.lr, settings.optimizer.name) == (2, "kept", 0.3, "sgd")


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("seed=7", "seed", 7),
        ("shuffle=false", "shuffle", False),
        ("note=two words, a=b", "note", "two words, a=b"),
        ('note="12"', "note", "12"),
        ("note=2026-11-21", "note", "2026-11-21"),
        ("note=", "note", ""),
        ("note=1\nseed = 9", "note", "1\nseed = 9"),
        ("out=some/where else", "out", Path("some/where else")),
        ('words=["a", "b"]', "words", ("a", "b")),
        ("limit=3", "limit", 3),
        ("optimizer={lr = 1}", "optimizer", Optimizer(lr=1.0)),
        ("final.steps=20", "final", Schedule(steps=20)),
    ],
)
def test_an_override_is_a_toml_value_or_bare_words(override, key, value):
    assert getattr(read(override), key) == value


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("schedule.warmup=2", "schedule.warmup is 2, but it should be at most 1."),
        ('shuffle="False"', 'shuffle is "False", but it should be true or false.'),
        ("shuffle=False", 'shuffle is "False", but it should be true or false.'),
        ("shuffle=1", "shuffle is 1, but it should be true or false."),
        ("seed=3.0", "seed is 3.0, but it should be a whole number."),
        ("words=a", 'words is "a", but it should be a list, in brackets.'),
        ('words=["a", 1]', "words.1 is 1, but it should be text, in quotes."),
        ("schedule.warmup=-1", "schedule.warmup is -1, but it should be at least 0."),
        ("final=3", "final is 3, but it should be a section with keys of its own."),
        ("seed=true", "seed is true, but it should be a whole number."),
        ("optimizer.lr=true", "optimizer.lr is true, but it should be a number."),
        ("optimizer.name=adam", "optimizer.name is \"adam\", but it should be 'adamw' or 'sgd'."),
        ("note=12", "note is 12, but it should be text, in quotes."),
        ("optimizer=3", "optimizer is 3, but it should be a section with keys of its own."),
        (
            "schedule.warmup_steps=900",
            "schedule.warmup_steps is 900, but the run has 500 steps; set it between 0 and 499.",
        ),
        ("optimiser.lr=1", "optimiser is not a setting. Nearest: optimizer."),
        ("schedule.warmpu=1", "schedule.warmpu is not a setting. Nearest: schedule.warmup."),
        ("final.stps=1", "final.stps is not a setting. Nearest: final.steps."),
        (
            "zzz=1",
            "zzz is not a setting. Known: seed, note, shuffle, limit, out, words, optimizer, schedule, final.",
        ),
        ("seed", "overrides 'seed' is not of the form section.key=value, as in optimizer.learning_rate=0.001."),
        ("a..b=1", "overrides 'a..b=1' is not of the form section.key=value, as in optimizer.learning_rate=0.001."),
    ],
)
def test_a_wrong_setting_is_answered_in_one_line(override, sentence):
    assert complaint(override) == sentence


def test_several_wrong_settings_are_counted():
    assert complaint("seed=x", "shuffle=y") == 'seed is "x", but it should be a whole number. (And 1 more.)'


def test_a_key_below_a_plain_value_is_refused():
    assert complaint("seed.x=1", base={"seed": 3}) == "overrides=['seed.x=1']: seed is 3, which has no keys."


def test_a_setting_without_default_must_be_given():
    class Needs(Settings):
        data: str

    with pytest.raises(UsageError, match="data is missing; it has no default"):
        read_settings(Needs, file=None)


@pytest.mark.parametrize(("content", "reason"), [(b"a = ", "not valid TOML"), (b"a = '\xff'", "not valid TOML")])
def test_a_damaged_file_is_named(tmp_path, content, reason):
    file = tmp_path / "run.toml"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=f"run.toml is {reason}"):
        read_settings(Run, file=file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"nothing.toml cannot be read: No such file or directory"):
        read_settings(Run, file=tmp_path / "nothing.toml")


def test_settings_made_in_python_are_as_strict_and_cannot_be_changed():
    with pytest.raises(UsageError, match=r'seed is "3", but it should be a whole number\.'):
        Run(seed="3")
    with pytest.raises(UsageError, match=r"sede is not a setting\. Nearest: seed\."):
        Run(sede=3)
    with pytest.raises(UsageError, match=r"schedule.warmup_steps is 900, but the run has 500 steps"):
        Schedule(warmup_steps=900)
    with pytest.raises(ValidationError):
        Run().seed = 4
    with pytest.raises(TypeError):
        Run(3)


def test_none_must_be_the_default_where_it_is_allowed():
    with pytest.raises(TypeError, match=r"Wrong.limit may be None, so None must be its default"):

        class Wrong(Settings):
            limit: int | None = 5


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
number = st.floats(allow_nan=False)


@given(
    st.builds(
        Run,
        seed=st.integers(),
        note=text,
        shuffle=st.booleans(),
        limit=st.none() | st.integers(),
        out=text.filter(lambda name: "\0" not in name).map(Path),
        words=st.lists(text, max_size=3).map(tuple),
        optimizer=st.builds(Optimizer, lr=number.filter(lambda x: x > 0), betas=st.tuples(number, number)),
        final=st.none() | st.just(Schedule(steps=12)),
    )
)
def test_what_is_written_as_toml_reads_back_equal(settings):
    written = as_toml(settings)
    assert Run.model_validate_json(json.dumps(tomllib.loads(written))) == settings


def test_a_written_file_is_plain_toml_and_reads_back_through_the_front_door(tmp_path):
    settings = Run(limit=5, note='say "é"', words=("a",))
    written = as_toml(settings)
    assert written.startswith('seed = 0\nnote = "say \\"é\\""\nshuffle = true\nlimit = 5\nout = "runs/first"\n')
    assert '\n\n[optimizer]\nname = "adamw"\nlr = 0.001\nbetas = [0.9, 0.98]\n' in written
    assert read(toml=written, tmp_path=tmp_path) == settings


def test_dictionaries_and_lists_of_sections_read_back_equal(tmp_path):
    class Mixed(Settings):
        weights: dict[str, float] = {}
        stages: tuple[Schedule, ...] = ()

    settings = Mixed(weights={"a b": 1.0, "é.x": float("inf")}, stages=(Schedule(steps=20), Schedule()))
    file = tmp_path / "mixed.toml"
    file.write_text(as_toml(settings), encoding="utf-8")
    assert read_settings(Mixed, file=file) == settings


def test_difference_names_each_changed_setting_once():
    old = Run(limit=5, final=Schedule())
    new = Run(limit=None, note="x", optimizer=Optimizer(lr=0.002), final=Schedule(steps=20))
    assert difference(old, new) == [
        'note: "" -> "x"',
        "limit: 5 -> (none)",
        "optimizer.lr: 0.001 -> 0.002",
        "final.steps: 500 -> 20",
    ]
    assert difference(old, old) == []


def test_settings_are_printed_one_a_line_with_their_path():
    lines = str(read("seed=3", "optimizer.lr=0.5")).split("\n")
    assert {"seed = 3", 'note = ""', "limit = (chosen by the run)", "optimizer.lr = 0.5", "words = []"} <= set(lines)
    assert not [line for line in lines if " = " not in line]

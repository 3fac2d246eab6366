"""One list of options for a run: `seesay.train`, `seesay.doctor` and their two doors."""

import inspect
import typing

import pytest

import seesay
from seesay.cli import doctor, run_options, train
from seesay.training import train as train_file
from seesay.training.settings import TrainSettings

# What a door calls otherwise than the function behind it: `set` is a name of Python's own.
OTHERWISE = {"set_": "overrides"}


# On the command line these are --set section.key=value, or --set key=value.
SET_BY_KEY = [
    *("data", "towers", "optimizer", "schedule", "checkpoint", "log", "start", "distillation"),
    *("widths", "parallel", "parallel_timeout_seconds", "stuck_minutes"),
]


def names(function):
    return list(inspect.signature(function).parameters)


def named(function):
    """Names of the parameters that have an option of their own."""
    return [name for name in names(function) if name not in SET_BY_KEY]


def as_in_python(door):
    return [OTHERWISE.get(name, name) for name in names(door)]


def test_doctor_takes_what_train_takes_but_for_what_only_a_real_run_has():
    ours, theirs = names(seesay.train), names(seesay.doctor)
    assert [name for name in ours if name not in theirs] == ["allow_change"]
    assert [name for name in theirs if name not in ours] == ["sample", "seconds"]
    shared = [name for name in ours if name in theirs]
    assert [name for name in theirs if name in ours] == shared, "the same order, too"


def test_shared_arguments_have_the_same_types_and_defaults():
    ours, theirs = (inspect.signature(function).parameters for function in (seesay.train, seesay.doctor))
    for name in ours.keys() & theirs.keys():
        assert (ours[name].annotation, ours[name].default) == (theirs[name].annotation, theirs[name].default), name


def test_each_door_has_the_arguments_of_its_function():
    assert as_in_python(train.command) == named(seesay.train)
    beyond = [name for name in as_in_python(doctor.command) if name not in names(seesay.doctor)]
    assert beyond == ["max_bad", "json_file"], "what is done with the report is the door's own"
    assert [name for name in as_in_python(doctor.command) if name not in beyond] == named(seesay.doctor)


@pytest.mark.parametrize("door", [train, doctor])
def test_the_types_of_shared_options_are_those_of_run_options(door):
    """So that each has one help text; `get_type_hints` gives what the annotations stand for."""
    shared = {value: name for name, value in vars(run_options).items() if typing.get_origin(value) is typing.Annotated}
    hints = typing.get_type_hints(door.command, include_extras=True)
    other = train.command if door is doctor else doctor.command
    both = [name for name in names(door.command) if name in names(other)]
    assert len(both) > 10
    assert [name for name in both if hints[name] not in shared] == []


def test_every_option_in_the_list_is_used_by_both_doors():
    shared = [value for value in vars(run_options).values() if typing.get_origin(value) is typing.Annotated]
    for door in (train, doctor):
        used = typing.get_type_hints(door.command, include_extras=True).values()
        assert [option for option in shared if option not in used] == []


def test_every_setting_of_a_run_is_an_argument_by_name_but_for_the_section_check():
    fields = set(TrainSettings.model_fields)
    assert fields - set(names(seesay.train)) == set()
    assert set(SET_BY_KEY) <= fields
    # `check` of the function names sets; the section of that name is set by key.
    assert fields - {"check"} == train_file.SETTINGS


@pytest.mark.parametrize("step", ["open_training_pairs", "choose", "build_model", "run_loop"])
def test_ctrl_c_before_the_first_step_is_one_error_of_ours(step, monkeypatch, tmp_path, coloured_pairs):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    pairs = coloured_pairs(12)
    monkeypatch.setattr(train_file, step, interrupt)
    with pytest.raises(seesay.Interrupted, match=r"stopped outside of a step; what .*run has is whole"):
        seesay.train(pairs, out=tmp_path / "run", model="conv-tiny", steps=1, batch_size=4, workers=0)

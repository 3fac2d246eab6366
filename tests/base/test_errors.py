"""A suggestion is given where a known word is near, and not where none is."""

import pytest

from seesay.base.errors import UsageError, at_command_line, nearest, nearest_setting, spelled
from seesay.base.settings import read_settings, setting_names
from seesay.base.streams import say
from seesay.data.sources import missing_location
from seesay.training.settings import TrainSettings


@pytest.mark.parametrize(
    ("word", "known", "found"),
    [
        ("evalute", ["evaluate", "train"], " Nearest: evaluate."),
        ("vit_b_32", ["ViT-B/32", "RN50"], " Nearest: ViT-B/32."),
        ("RESNET", ["resnet", "vit"], " Nearest: resnet."),
        ("nope", ["apt", "train", "probe-set"], ""),
        ("lr", ["learning_rate", "layers"], ""),
        ("", ["a", "b"], ""),
        ("x", [], ""),
    ],
)
def test_only_what_is_near_is_offered(word, known, found):
    assert nearest(word, known) == found


@pytest.mark.parametrize(
    ("lost", "there", "found"),
    [
        ("nope.png", ["apt.log", "cat.png", "x.tar"], ""),
        ("a.jpeg", ["zebra.jpeg", "b.txt"], ""),
        ("chelsea.jpg", ["chelsea.png"], " Nearest: chelsea.png."),
        ("photo", ["photos", "runs"], " Nearest: photos."),
    ],
)
def test_files_that_share_only_their_ending_are_not_near(tmp_path, lost, there, found):
    for name in there:
        (tmp_path / name).touch()
    message = str(missing_location(tmp_path / lost))
    assert message.endswith(f"has no {lost!r}.{found}")


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("learning_rate", "optimizer.learning_rate"),
        ("learning_rte", "optimizer.learning_rate"),
        ("data.learning_rate", "optimizer.learning_rate"),
        ("optimiser.learning_rate", "optimizer.learning_rate"),
        ("every_steps", "log.every_steps, checkpoint.every_steps"),
        ("warmup", "schedule.warmup"),
        ("lr", "optimizer.learning_rate"),
        ("optimizer.lr", "optimizer.learning_rate"),
        ("bs", "batch_size"),
        ("schedule.steps", "schedule.sizes, steps"),
        ("data.augment.blr", "data.augment.blur"),
        ("optimizer.learning_rate.x", "optimizer.learning_rate"),
    ],
)
def test_settings_are_found_in_whatever_section_they_are(word, found):
    assert nearest_setting(word, list(setting_names(TrainSettings))) == f" Nearest: {found}."


def test_a_setting_without_its_section_is_answered_with_both():
    message = r"learning_rate is not a setting\. Nearest: optimizer\.learning_rate\."
    with pytest.raises(UsageError, match=message):
        read_settings(TrainSettings, file=None, overrides=["learning_rate=0.1"])
    with pytest.raises(UsageError, match=r"xyzzy is not a setting\. Known: model, objective"):
        read_settings(TrainSettings, file=None, overrides=["xyzzy=1"])


# Names as the door spells them


@pytest.mark.parametrize(
    ("at_the_command_line", "in_python"),
    [
        ("try --micro-batch 8.", "try micro_batch 8."),
        ("choose another --out, or --allow-change it.", "choose another out, or allow_change it."),
        ("--set data.cache=false frees some; else", "overrides=['data.cache=false'] frees some; else"),
        ("(--set a.b=0.1)", "(overrides=['a.b=0.1'])"),
        ("the file or --set must give it", "the file or overrides must give it"),
        ("run `seesay convert --from-pickle a b`.", "run `seesay convert --from-pickle a b`."),
        ("a--b and pets--2.json -- stay", "a--b and pets--2.json -- stay"),
        ("--json has it", "json_file has it"),
    ],
)
def test_a_message_names_arguments_as_the_door_spells_them(at_the_command_line, in_python):
    error = UsageError(at_the_command_line)
    assert str(error) == spelled(at_the_command_line) == in_python
    with at_command_line():
        assert str(error) == spelled(at_the_command_line) == at_the_command_line
    assert str(error) == in_python


def test_what_is_said_is_spelled_as_well(capsys):
    say("name some with --val")
    assert capsys.readouterr().err == "name some with val\n"

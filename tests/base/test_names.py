"""An empty name is refused wherever a name is given: each option and argument of each verb, each public function."""

import inspect

import numpy as np
import pytest

import seesay
from seesay.base.errors import UsageError, at_command_line
from seesay.base.names import refuse_empty_words, whole_numbers
from seesay.cli import main as cli

FUNCTIONS = [name for name in seesay.__all__ if inspect.isfunction(getattr(seesay, name))]


@pytest.mark.parametrize("name_of_function", FUNCTIONS)
@pytest.mark.parametrize("empty", ["", " \t"])
def test_no_public_function_takes_an_empty_name(name_of_function, empty):
    function = getattr(seesay, name_of_function)
    parameters = inspect.signature(function).parameters
    needed = {name: "nothing here" for name, parameter in parameters.items() if parameter.default is parameter.empty}
    takes_text = [name for name, parameter in parameters.items() if "str" in str(parameter.annotation)]
    for name in takes_text:
        for value in (empty, ["a", empty]):
            with pytest.raises(UsageError, match=name):
                function(**{**needed, name: value})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pics", "--model", ""], "the word after --model is empty"),
        (["pics", "--model="], "--model is empty"),
        (["pics", "cat", "  "], "word 3 after the verb is empty"),
        ([""], "word 1 after the verb is empty"),
        (["pics", "-o", ""], "the word after -o is empty"),
    ],
)
def test_an_empty_word_is_refused_with_where_it_stands(words, message):
    with at_command_line(), pytest.raises(UsageError) as caught:
        refuse_empty_words(words)
    with at_command_line():
        assert str(caught.value).startswith(message)


def test_words_that_hold_something_are_not_refused():
    refuse_empty_words(["--set", "a=b", "--set=log.to=", "=", "-", "--", "cat"])


@pytest.mark.parametrize(
    "verb", ["train", "doctor", "classify", "evaluate", "compare", "probe", "convert", "models", "completion"]
)
def test_no_verb_takes_an_empty_word(verb, capfd):
    assert verb in cli.DOORS
    assert cli.main([verb, "a", "b", "--model", ""]) == 2
    assert capfd.readouterr().err.startswith("error: the word after --model is empty")


# Arguments that a function has not


@pytest.mark.parametrize(
    ("function", "named", "message"),
    [
        ("train", {"learning_rate": 1}, r"optimizer\.learning_rate\. That is optimizer={'learning_rate': \.\.\.}\."),
        ("doctor", {"lr": 1}, r"Nearest: optimizer\.learning_rate\. That"),
        ("train", {"wd": 1}, r"Nearest: optimizer\.weight_decay\."),
        ("train", {"batchsize": 1}, r"train\(\) has no argument 'batchsize'\. Nearest: batch_size\.$"),
        ("train", {"flip": 1}, r"That is data={'augment': {'flip': \.\.\.}}\."),
        ("load", {"tokeniser": "x"}, r"Nearest: tokenizer\.$"),
        ("probe", {"test": "x", "shot": 1}, r"Nearest: shots\.$"),
        ("evaluate", {"sets": "x", "xyzzy": 1}, r"evaluate\(\) has no argument 'xyzzy'\.$"),
    ],
)
def test_an_argument_that_is_none_is_answered_with_the_nearest(function, named, message):
    with pytest.raises(TypeError, match=message):
        getattr(seesay, function)("x", **named)


def test_an_argument_that_is_missing_keeps_pythons_own_words():
    with pytest.raises(TypeError, match="missing 1 required"):
        seesay.load()  # pyright: ignore[reportCallIssue]


# Lists of numbers


@pytest.mark.parametrize(
    ("numbers", "tidy"), [([], ()), ((4, 1, 4), (1, 4)), (range(1, 3), (1, 2)), (np.array([2]), (2,))]
)
def test_whole_numbers_are_sorted_and_each_once(numbers, tidy):
    assert whole_numbers(numbers, "shots") == tidy


@pytest.mark.parametrize("numbers", ["1,2", 3, [0], [-1], ["1"], [1.5], [None], None])
@pytest.mark.parametrize("function", ["probe", "evaluate"])
def test_shots_that_are_no_whole_numbers_are_refused_in_a_line(function, numbers, tmp_path):
    with pytest.raises(UsageError, match=r"shots are .*; give whole numbers of 1 or more in a list"):
        getattr(seesay, function)("box", str(tmp_path), shots=numbers)


@pytest.mark.parametrize("pairs", [3, None, [3], [None], {1: 2}])
def test_pairs_that_are_no_paths_are_refused_in_a_line(pairs):
    for function in (seesay.train, seesay.doctor):
        with pytest.raises(UsageError, match="is no path"):
            function(pairs)

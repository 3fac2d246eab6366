"""The command in this process, with a model that can be checked by eye."""

import pytest

import seesay.experiments.results
import seesay.model.convert
from seesay.cli.main import main


@pytest.fixture
def seesay(colour_model, monkeypatch, capfd):
    """Run the command with the colour model in place of any other: (exit code, standard output, standard error)."""
    asked = []

    def load(name):
        asked.append(name)
        return colour_model

    monkeypatch.setattr("seesay.model.hub.load", load)

    def run(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        told = capfd.readouterr()
        return code, told.out, told.err

    run.asked = asked
    return run

"""What is told beside `events.jsonl`, through one seam."""

import sys
from types import SimpleNamespace

import pytest

import seesay
from seesay.base.errors import UsageError
from seesay.training.trackers import open_trackers, refuse_missing


def stand_in(monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def told(monkeypatch):
    """Stand-ins of both packages that note what they are told."""
    notes = []

    class Writer:
        def __init__(self, folder, purge_step):
            notes.append(("open", folder, purge_step))

        def add_scalar(self, name, value, step):
            notes.append((name, value, step))

        def flush(self):
            pass

        def close(self):
            notes.append("closed")

    run = SimpleNamespace(log=lambda values, step: notes.append((values, step)), finish=lambda: notes.append("done"))
    wandb = SimpleNamespace(init=lambda **given: notes.append(given) or run)
    stand_in(monkeypatch, "tensorboard", SimpleNamespace())
    stand_in(monkeypatch, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    stand_in(monkeypatch, "wandb", wandb)
    return notes


def test_both_take_the_numbers_of_a_step_and_go_on_with_their_run(told, tmp_path):
    board, wandb = open_trackers(["tensorboard", "wandb"], tmp_path / "run", {"seed": "3"}, step=7)
    for tracker in (board, wandb):
        tracker.track({"loss": 1.5, "name": "words are left out", "top1": None}, step=8)
        tracker.close()
    assert told[0] == ("open", str(tmp_path / "run" / "tensorboard"), 8)
    given = told[1]
    assert (given["resume"], given["name"], given["config"]) == ("allow", "run", {"seed": "3"})
    assert told[2:] == [("loss", 1.5, 8), "closed", ({"loss": 1.5}, 8), "done"]
    open_trackers(["wandb"], tmp_path / "run", {}, step=0)
    assert told[-1]["id"] == given["id"], "the same folder is the same run"


@pytest.mark.journey
def test_a_run_tells_its_steps_and_checks(told, coloured_pairs, tmp_path):
    settings = {"model": "conv-tiny", "batch_size": 8, "steps": 4, "data": {"vocab_size": 540, "validation": 0.1}}
    seesay.train(coloured_pairs(), out=tmp_path / "run", log={"every_steps": 2, "to": ["tensorboard"]}, **settings)
    names = {note[0] for note in told if len(note) == 3}
    assert {"loss", "learning_rate", "validation/loss"} <= names and told[-1] == "closed"
    assert [note[2] for note in told if note[0] == "loss"] == [1, 2, 4]


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_refused_before_the_run_with_the_line_to_type(name, monkeypatch, coloured_pairs, tmp_path):
    stand_in(monkeypatch, name, None)
    with pytest.raises(UsageError, match=r'not installed; add it with: pip install "seesay\[track\]"\.'):
        refuse_missing([name])
    with pytest.raises(UsageError, match="not installed"):
        seesay.train(coloured_pairs(24), out=tmp_path / "run", steps=2, log={"to": [name]})
    assert not (tmp_path / "run").exists()

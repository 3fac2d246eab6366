"""`seesay.finetune` from end to end on small models: what is learned, what is kept, what is refused."""

import json

import pytest
import torch

import seesay
from seesay.base.errors import SeesayError, UsageError
from seesay.cli.main import main
from seesay.finetuning import finetune as finetune_file
from seesay.finetuning.finetune import finetune
from seesay.model.cache import weights_sha256

QUICK = {"workers": 0, "batch_size": 8, "device": "cpu", "overrides": ["towers.precision=float32"]}
SURE = ["optimizer.learning_rate=0.003", "towers.precision=float32"]


def tuned(model, data, out, **named):
    """A run of a few steps in which anything may be lost."""
    return finetune(model, data, out=out, **{**QUICK, "overrides": SURE, "steps": 25, "most_loss": 100.0, **named})


def test_a_model_learns_classes_and_the_run_keeps_both_ends_the_numbers_and_a_page(small_model, squares, tmp_path):
    before = weights_sha256(small_model.clip.state_dict())
    result = tuned(small_model, squares(), tmp_path / "run")
    out = tmp_path / "run"
    assert weights_sha256(small_model.clip.state_dict()) == before, "the old model is as it was"
    assert result.chosen is not None
    assert result.chosen.target.value > 0.8 > result.points[0].target.value
    written = json.loads((out / "finetune.json").read_text())
    assert [point["a"] for point in written["points"]] == [point.a for point in result.points]
    assert written["chosen"] == result.chosen.to_json() and written["target"]["n"] == 12
    start, end, model = (seesay.load(out / path) for path in ("start", "train/model", "model"))
    assert weights_sha256(start.clip.state_dict()) == before
    assert written["points"][-1]["target"]["value"] == result.target.answers(end).mean
    assert result.target.answers(model).mean == result.chosen.target.value
    page = (out / "finetune.html").read_text()
    assert "<svg" in page and "recommended" in page
    assert "recommended" in str(result)
    assert torch.equal(result.model.encode_texts(["red"]), model.encode_texts(["red"]))


def test_the_same_call_goes_on_with_a_finished_run_and_measures_it_anew(small_model, squares, tmp_path, monkeypatch):
    data = squares()
    first = tuned(small_model, data, tmp_path / "run")
    monkeypatch.setattr(finetune_file, "train_model", None)
    again = tuned(small_model, data, tmp_path / "run")
    assert again.to_json() == first.to_json()


def test_a_run_stopped_half_way_ends_in_the_bits_of_an_unbroken_one(small_model, small_vit, squares, tmp_path):
    data = squares()
    tuned(small_model, data, tmp_path / "unbroken", steps=8)
    with pytest.raises(UsageError, match="holds a finished run of 8 steps"):
        tuned(small_model, data, tmp_path / "unbroken", steps=8, how="lock-image")
    from seesay.training import loop

    honest, made = loop.train_step, []

    def stopping(state, batch):
        honest(state, batch)
        made.append(state.position.step)
        if state.position.step == 3:
            loop.save(state)
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            tuned(small_model, data, tmp_path / "broken", steps=8)
    assert made == [1, 2, 3]
    with pytest.raises(UsageError, match=r"start\.sha256: "):
        tuned(small_vit, data, tmp_path / "broken", steps=8)
    with pytest.raises(UsageError, match=r"start\.how: "):
        tuned(small_model, data, tmp_path / "broken", steps=8, how="lock-image")
    tuned(small_model, data, tmp_path / "broken", steps=8)
    ends = [seesay.load(tmp_path / run / "train/model").clip.state_dict() for run in ("unbroken", "broken")]
    assert weights_sha256(ends[0]) == weights_sha256(ends[1])


def test_images_of_one_class_are_matches_of_all_its_prompts(squares, small_model):
    from seesay.data.augment import Augment
    from seesay.data.evalsets import open_evalset
    from seesay.data.labelled import ClassPairs
    from seesay.data.loader import Crops, Draw

    labelled = open_evalset(squares(count=3))
    pairs = ClassPairs(
        labelled, [(f"a {name}", f"some {name} thing") for name in labelled.class_names], chosen=range(12)
    )
    crops = Crops(pairs, small_model.tokenizer, augment=Augment(), seed=0, cache=None)
    batch = crops.read([Draw(index, 0, 16) for index in range(12)])
    assert len(set(batch.caption_id_B.tolist())) == 4
    assert batch.caption_id_B.view(4, 3).eq(batch.caption_id_B[::3, None]).all()
    assert len({tuple(row) for row in batch.tokens.ids_BL.tolist()}) > 4, "but the words differ"


def test_nothing_is_recommended_where_too_much_would_be_lost(small_model, squares, tmp_path):
    model, before = tmp_path / "model", tmp_path / "model" / "model.safetensors"
    trained = tuned(small_model, squares(), tmp_path / "first").model
    trained.save(model)
    bits = before.read_bytes()
    other = squares("other", seed=5)
    # The same images with the names exchanged: what is learned is what the guard measures the opposite of.
    (other / "red").rename(other / "x")
    (other / "green").rename(other / "red")
    (other / "x").rename(other / "green")
    with pytest.raises(SeesayError, match="no model between") as caught:
        tuned(model, other, tmp_path / "second", guard=squares("guard", seed=9), most_loss=0.0)
    assert caught.value.exit_code == 1
    assert before.read_bytes() == bits
    assert not (tmp_path / "second" / "model").exists()
    assert json.loads((tmp_path / "second" / "finetune.json").read_text())["chosen"] is None
    assert (tmp_path / "second" / "train" / "model").is_dir() and (tmp_path / "second" / "finetune.html").is_file()


def test_pairs_are_learned_from_too_and_chosen_by_recall(small_model, coloured_pairs, tmp_path):
    result = tuned(small_model, coloured_pairs(120), tmp_path / "run", steps=3)
    assert "recall at 1" in result.target.what and result.guards[0].name.startswith("own answers on")


def test_a_captioned_guard_is_measured_by_recall(small_model, squares, coloured_pairs, tmp_path):
    result = tuned(
        small_model, squares(seed=8), tmp_path / "run", guard=[coloured_pairs(12), squares("g", seed=3)], steps=3
    )
    assert [guard.what for guard in result.guards] == [
        "recall at 1 of 12 images by their captions",
        "top-1 among 4 classes",
    ]


def test_wrong_targets_and_guards_are_one_line_each(small_model, predictor, squares, tmp_path):
    out = tmp_path / "run"
    one, data = squares("one", classes=1), squares()
    with pytest.raises(UsageError, match="one has one class, 'red'"):
        tuned(small_model, one, out)
    with pytest.raises(UsageError, match="60 images are both in squares and in squares"):
        tuned(small_model, data, out, guard=data)
    with pytest.raises(UsageError, match="validation set"):
        tuned(small_model, data, out, val=data)
    with pytest.raises(UsageError, match="does not have the classes"):
        tuned(small_model, data, out, val=squares("few", classes=2, seed=2))
    with pytest.raises(UsageError, match="no text tower"):
        tuned(predictor("caption"), data, out)
    with pytest.raises(UsageError, match="most_loss is -1"):
        tuned(small_model, data, out, most_loss=-1)
    with pytest.raises(UsageError, match="too few to choose by"):
        tuned(small_model, squares("tiny", count=2, seed=4), out)
    assert not out.exists()


def test_the_command_prints_the_sweep_and_ends_with_1_where_nothing_is_better(small_model, squares, tmp_path, capsys):
    small_model.save(tmp_path / "model")
    words = ["finetune", str(tmp_path / "model"), str(squares()), "--out", str(tmp_path / "run"), "--workers", "0"]
    words += ["--batch-size", "8", "--set", "towers.precision=float32", "--set", "optimizer.learning_rate=0.003"]
    assert main([*words, "--steps", "25", "--most-loss", "100", "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert "recommended" in printed.out and "the old model" in printed.out
    assert "own answers on squares" in printed.err and "--guard" in printed.err
    words[4] = str(tmp_path / "second")
    bare = [*words, "--steps", "1", "--device", "cpu", "--set", "optimizer.learning_rate=1e-12"]
    assert main(bare) == 1
    assert "no model between" in capsys.readouterr().err

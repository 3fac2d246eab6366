"""`seesay.finetune` from end to end on small models: what is learned, what is kept, what is refused."""

import contextlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import seesay
from seesay.base.errors import Interrupted, SeesayError, TooManySkipped, UsageError
from seesay.cli.main import main
from seesay.finetuning import finetune as finetune_file
from seesay.finetuning.finetune import finetune
from seesay.finetuning.guards import Guards, Holding
from seesay.finetuning.result import FineTuning, refuse_other_models
from seesay.finetuning.sweep import Change, Point
from seesay.finetuning.target import open_target
from seesay.model.cache import weights_sha256
from seesay.model.teacher import TeacherRows, teacher_sha256
from seesay.training.settings import StartSettings, TrainSettings

QUICK = {"workers": 0, "batch_size": 8, "device": "cpu", "overrides": ["towers.precision=float32"]}
# A model that was not trained has nothing to keep.
SURE = ["optimizer.learning_rate=0.003", "towers.precision=float32", "start.keep=0.0"]


def tuned(model, data, out, **named):
    """A run of a few steps in which anything may be lost."""
    return finetune(model, data, out=out, **{**QUICK, "overrides": SURE, "steps": 25, "most_loss": 100.0, **named})


@pytest.mark.journey
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


@pytest.mark.journey
def test_the_same_call_goes_on_with_a_finished_run_and_measures_it_anew(small_model, squares, tmp_path, monkeypatch):
    data = squares()
    first = tuned(small_model, data, tmp_path / "run")
    monkeypatch.setattr(finetune_file, "train_model", None)
    again = tuned(small_model, data, tmp_path / "run")
    assert again.to_json() == first.to_json()
    monkeypatch.undo()
    with pytest.raises(
        UsageError, match=r"a finished run with other settings \(optimizer\.weight_decay: .*\); choose another out\."
    ):
        tuned(small_model, data, tmp_path / "run", overrides=[*SURE, "optimizer.weight_decay=0.3"])


@pytest.mark.journey
def test_what_was_left_out_is_told_when_all_is_measured_and_told_again(small_model, squares, tmp_path):
    data = squares()
    for number in range(6):
        (data / "red" / f"broken-{number}.png").write_bytes(b"no image %d" % number)
    for _ in range(2):
        with pytest.raises(TooManySkipped, match=r"all is measured and saved, but 5 of 53 samples .*skipped\.jsonl"):
            tuned(small_model, data, tmp_path / "run")
        assert (tmp_path / "run" / "model").is_dir()
        assert json.loads((tmp_path / "run" / "finetune.json").read_text())["left_out"] == {"not an image": 5}
        page = (tmp_path / "run" / "finetune.html").read_text()
        assert "5 of 53 samples (9.4%) were left out (5 x not an image)" in page


@pytest.mark.journey
def test_images_that_could_not_be_measured_are_counted_as_those_that_could_not_be_learned(
    small_model, squares, tmp_path, capsys
):
    held = squares("held", seed=1)
    for number in range(7):
        (held / "red" / f"{number:03}.png").write_bytes(b"no image %d" % number)
    with pytest.raises(TooManySkipped, match=r"but of what measures held 7 of 60 samples \(11\.7%\) were left out"):
        tuned(small_model, squares(), tmp_path / "run", val=held)
    assert capsys.readouterr().err.count("held: 7 of 60 images left out: 7 x not an image") == 1
    written = json.loads((tmp_path / "run" / "finetune.json").read_text())
    assert written["target"]["n"] == 53 and written["target"]["left_out"] == {"not an image": 7}
    assert written["left_out"] == {} and written["guards"][0]["left_out"] == {}


@pytest.mark.parametrize("there", ["model", "adapter", "start", "settings.toml"])
def test_a_folder_with_another_model_is_refused_and_stays_as_it_is(there, small_model, squares, tmp_path):
    out = tmp_path / "mine"
    small_model.save(out / there) if there in ("model", "start") else (out / there).mkdir(parents=True)
    before = sorted(path.name for path in out.rglob("*"))
    with pytest.raises(UsageError, match=rf"mine holds {there}, which is not of a fine-tuning and would be lost"):
        tuned(small_model, squares(), out)
    assert sorted(path.name for path in out.rglob("*")) == before


def test_a_run_that_began_with_its_own_result_would_lose_it(small_model, squares, tmp_path):
    small_model.save(tmp_path / "run" / "model")
    (tmp_path / "run" / "finetune.json").write_text("{}")
    small_model.save(tmp_path / "run" / "mine")
    data = squares()
    for model in (tmp_path / "run", tmp_path / "run" / "model"):
        with pytest.raises(UsageError, match=r"lies in .*run, whose models are replaced; choose another out"):
            tuned(model, data, tmp_path / "run")
        with pytest.raises(UsageError, match=r"lies in .*run, whose models are replaced; choose another out"):
            tuned(small_model, data, tmp_path / "run", overrides=[*SURE, f"teacher={model}"])
    # What is not replaced there stays.
    refuse_other_models(tmp_path / "run", tmp_path / "run" / "mine", small_model, None)


@pytest.mark.journey
def test_what_a_refused_command_wrote_is_not_taken_for_the_beginning_of_another(
    small_model, small_vit, squares, tmp_path
):
    data = squares()
    with pytest.raises(SeesayError):
        tuned(small_vit, data, tmp_path / "run", batch_size=500)
    tuned(small_model, data, tmp_path / "run", steps=2)
    start = seesay.load(tmp_path / "run" / "start")
    assert weights_sha256(start.clip.state_dict()) == weights_sha256(small_model.clip.state_dict())


@pytest.mark.journey
def test_a_finished_run_of_another_teacher_is_not_measured_as_this_one(small_model, squares, tmp_path):
    for seed, name in enumerate(("one", "other")):
        seesay.build("conv-tiny", tokenizer=small_model.tokenizer, seed=seed + 5).save(tmp_path / name)
    data, out = squares(), tmp_path / "run"
    taught = [*SURE, f"teacher={tmp_path / 'one'}"]
    tuned(small_model, data, out, steps=2, overrides=taught)
    tuned(small_model, data, out, steps=2, overrides=taught)
    for overrides in (SURE, [*SURE, f"teacher={tmp_path / 'other'}"]):
        with pytest.raises(UsageError, match=r"a finished run with other settings \(.*distillation\.sha256"):
            tuned(small_model, data, out, steps=2, overrides=overrides)


def test_a_model_whose_rows_are_cut_is_refused(small_model, squares, tmp_path):
    with pytest.warns(UserWarning, match="was trained for"):
        cut = small_model.with_width(8)
    with pytest.raises(UsageError, match=r"rows cut to width 8; start from with_width\(None\) of it"):
        tuned(cut, squares(), tmp_path / "run")


def test_what_could_recommend_nothing_is_said_before_anything_is_trained(small_model, squares, tmp_path):
    message = r"12 held-out images are so few that a loss of .* name a guard, or allow it with most_loss 1\."
    with pytest.raises(UsageError, match=message):
        tuned(small_model, squares(), tmp_path / "run", most_loss=0.0)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("count", [1, 6])
def test_a_class_without_an_image_that_can_be_read_is_refused_before_anything_is_trained(
    small_model, squares, tmp_path, count
):
    data = squares()
    (data / "violet").mkdir()
    for number in range(count):
        (data / "violet" / f"{number}.png").write_bytes(b"no image %d" % number)
    val = squares("val", seed=3)
    (val / "violet").mkdir()
    shutil.copy(val / "red" / "000.png", val / "violet")
    for named in ({}, {"val": val}):
        with pytest.raises(UsageError, match="not one image of class 'violet' of squares can be read"):
            tuned(small_model, data, tmp_path / "run", **named)
    assert not (tmp_path / "run").exists()


def test_a_guard_and_a_validation_set_need_an_image_of_every_class(small_model, squares, tmp_path):
    data, other = squares(), squares("other", seed=3)
    for image in (other / "red").iterdir():
        image.write_bytes(b"no image " + image.name.encode())
    for name in ("guard", "val"):
        with pytest.raises(UsageError, match="not one image of class 'red' of other can be read"):
            tuned(small_model, data, tmp_path / "run", **{name: other})
    with pytest.raises(UsageError, match="val names 2 sets; validate on one"):
        tuned(small_model, data, tmp_path / "run", val=[other, other])


@pytest.mark.journey
def test_ctrl_c_while_it_is_measured_says_what_is_there(small_model, squares, tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(finetune_file, "choose_model", stopped)
    with pytest.raises(Interrupted, match=r"train/model is trained; the same command measures it"):
        tuned(small_model, squares(), tmp_path / "run", steps=2)


def test_a_row_says_which_guard_loses_too_much_and_as_exactly_as_it_was_decided():
    old, trained = (
        Point(a=a, target=moved("target", 0.0), guards=tuple(moved(f"guard {k}", low) for k, low in enumerate(lows)))
        for a, lows in ((0.0, (0.0, 0.0)), (1.0, (-0.0097, -0.0103)))
    )
    measures = [SimpleNamespace(name=name) for name in ("target", "guard 0", "guard 1")]
    result = FineTuning(
        folder=Path("run"), model_name="m", how="full", target=measures[0], guards=measures[1:], most_loss=1.0,
        seconds=0.0, points=(old, trained),
    )  # fmt: skip
    assert result.rows()[1][3:] == ("+0.00 [-0.97, +0.00]", "+0.00 [-1.03, +0.00]", "may lose too much on guard 1")


def moved(name, low):
    return Change(name=name, value=0.5, gain=0.0, interval95=(low, 0.0))


def ended(model, data, out, **named):
    """As `tuned`, where so few steps may make nothing better."""
    with contextlib.suppress(SeesayError):
        tuned(model, data, out, **named)
    return seesay.load(out / "train" / "model")


@pytest.mark.journey
@pytest.mark.parametrize("how", ["full", "lora"])
def test_a_run_stopped_half_way_ends_in_the_bits_of_an_unbroken_one(how, small_model, small_vit, squares, tmp_path):
    data = squares()
    ended(small_model, data, tmp_path / "unbroken", steps=8, how=how)
    with pytest.raises(UsageError, match=r"holds a finished run with other settings \(start\.how: "):
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
            tuned(small_model, data, tmp_path / "broken", steps=8, how=how)
    assert made == [1, 2, 3]
    with pytest.raises(UsageError, match=r"start\.sha256: "):
        tuned(small_vit, data, tmp_path / "broken", steps=8, how=how)
    with pytest.raises(UsageError, match=r"start\.how: "):
        tuned(small_model, data, tmp_path / "broken", steps=8, how="lock-image")
    ended(small_model, data, tmp_path / "broken", steps=8, how=how)
    files = ["model/model.safetensors", *(["adapter/adapter_model.safetensors"] if how == "lora" else [])]
    for file in files:
        ends = [(tmp_path / run / "train" / file).read_bytes() for run in ("unbroken", "broken")]
        assert ends[0] == ends[1], file


def test_images_of_one_class_are_matches_of_all_its_prompts(squares, small_model, tmp_path):
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
    rows = TeacherRows(folder=tmp_path / "rows", pairs=pairs, sha256=teacher_sha256(small_model))
    rows.write(0, *rows.make(small_model, 0), scale=small_model.logit_scale)
    with torch.inference_mode():
        expected = small_model.clip.embed_texts(batch.tokens)
    assert torch.allclose(rows.of(batch, torch.device("cpu")).text_BD, expected, atol=1e-3), (
        "of the prompt that is drawn"
    )


@pytest.mark.journey
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
    # What an earlier call recommended does not stay beside numbers that recommend nothing.
    seesay.load(model).save(tmp_path / "second" / "model")
    with pytest.raises(SeesayError, match="no model between"):
        tuned(model, other, tmp_path / "second", guard=tmp_path / "guard", most_loss=0.0)
    assert not (tmp_path / "second" / "model").exists()
    assert json.loads((tmp_path / "second" / "finetune.json").read_text())["chosen"] is None
    assert (tmp_path / "second" / "train" / "model").is_dir() and (tmp_path / "second" / "finetune.html").is_file()


@pytest.mark.journey
def test_pairs_are_learned_from_too_and_chosen_by_recall(small_model, coloured_pairs, tmp_path):
    result = tuned(small_model, coloured_pairs(120), tmp_path / "run", steps=3)
    assert "recall at 1" in result.target.what and result.guards[0].name.startswith("own answers on")


@pytest.mark.journey
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
    with pytest.raises(
        UsageError, match=r"few has other classes \('blue' and 1 more are missing\) than those of squares"
    ):
        tuned(small_model, data, out, val=squares("few", classes=2, seed=2))
    with pytest.raises(UsageError, match="no text tower"):
        tuned(predictor("caption"), data, out)
    with pytest.raises(UsageError, match="most_loss is -1"):
        tuned(small_model, data, out, most_loss=-1)
    with pytest.raises(UsageError, match="tiny has 4 images to measure on, fewer than 8; name more with val"):
        tuned(small_model, squares("tiny", count=2, seed=4), out)
    with pytest.raises(UsageError, match="guard lone has one class, so that every answer is right"):
        tuned(small_model, data, out, guard=squares("lone", classes=1, seed=6))
    with pytest.raises(UsageError, match="small has 4 images to measure on, fewer than 8; take a larger guard"):
        tuned(small_model, data, out, guard=squares("small", count=1, seed=7))
    with pytest.raises(UsageError, match="two guards are called g; name each set once"):
        tuned(small_model, data, out, guard=[squares("x/g", seed=8), squares("y/g", seed=9)])
    assert not out.exists()


def test_an_image_that_is_there_twice_is_learned_from_or_held_out_and_never_both(small_model, squares):
    data = squares()
    for path in sorted(data.rglob("*.png")):
        shutil.copy(path, path.with_name(f"again-{path.name}"))
    target = open_target(small_model, data, (), TrainSettings(), own_template=False)
    learned = {target.pairs.training[index].image for index in range(len(target.pairs.training))}
    held = {target.held_out(number) for number in range(target.held_count)}
    assert held and not held & learned
    assert len(target.pairs.training) + 2 * target.held_count == 120


@pytest.mark.journey
def test_the_command_prints_the_sweep_and_ends_with_1_where_nothing_is_better(small_model, squares, tmp_path, capsys):
    small_model.save(tmp_path / "model")
    words = ["finetune", str(tmp_path / "model"), str(squares()), "--out", str(tmp_path / "run")]
    words += ["--batch-size", "8", "--set", "towers.precision=float32", "--set", "optimizer.learning_rate=0.003"]
    assert main([*words, "--steps", "25", "--most-loss", "100", "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert "recommended" in printed.out and "the old model" in printed.out
    assert "own answers on squares" in printed.err and "--guard" in printed.err
    words[4] = str(tmp_path / "second")
    bare = [*words, "--steps", "1", "--device", "cpu", "--set", "optimizer.learning_rate=1e-12"]
    assert main(bare) == 1
    told = capsys.readouterr().err
    assert "no model between" in told and "train longer" in told and "the old model" in told


@pytest.mark.journey
@pytest.mark.parametrize("how", ["image", "lock-image", "lock-text", "lora", "prompt"])
def test_each_way_trains_what_it_says_and_nothing_else(how, small_model, squares, tmp_path):
    try:
        tuned(small_model, squares(), tmp_path / "run", how=how)
    except SeesayError as error:
        # Towers that know nothing answer nothing better by other words.
        assert how in ("prompt", "lock-image") and "no model between" in str(error)
    end = seesay.load(tmp_path / "run" / "train" / "model")
    old, new = small_model.clip.state_dict(), end.clip.state_dict()
    table = "text_tower.token_embedding.weight"
    changed = {name for name in old if name != table and not torch.equal(old[name], new[name])}
    towers = {name.partition(".")[0] for name in changed}
    expected = {"image": {"image_tower"}, "lock-image": {"text_tower", "logit_scale"}, "prompt": set()}
    expected |= {"lock-text": {"image_tower", "logit_scale"}, "lora": {"image_tower", "text_tower"}}
    assert towers == expected[how]
    assert not any("running_" in name for name in changed), "statistics are those of the old model"
    same = new[table][: len(old[table])]
    assert torch.equal(same, old[table]) == (how != "lock-image")


def test_a_learned_prompt_is_a_template_of_words_without_letters_and_survives_its_folder(
    small_model, squares, tmp_path
):
    from seesay.training.settings import StartSettings, TrainSettings
    from seesay.training.start import learner_from, without_adapters

    settings = TrainSettings(start=StartSettings(how="prompt"))
    learner = learner_from(small_model, settings, name="prompt")
    assert learner.templates == ("<|learned-1|> <|learned-2|> <|learned-3|> <|learned-4|> {}",)
    trained = [name for name, parameter in learner.clip.named_parameters() if parameter.requires_grad]
    assert trained == ["text_tower.token_embedding.parametrizations.weight.0.context_MW"]
    # Before the first step the learned words are those of the template.
    plain = without_adapters(learner)
    rows = plain.encode_texts(["<|learned-1|> <|learned-2|> <|learned-3|> <|learned-4|> red dog"])
    assert torch.allclose(rows, small_model.encode_texts(["a photo of a red dog"]), atol=1e-6)
    plain.save(tmp_path / "model")
    again = seesay.load(tmp_path / "model")
    assert again.templates == learner.templates and again.tokenizer.learned == 4
    assert torch.equal(again.classifier(["red", "blue"]).weights, plain.classifier(["red", "blue"]).weights)
    with pytest.raises(UsageError, match=r"14 learned words leave no room .* set start.context to 13 or less"):
        tuned(small_model, squares(), tmp_path / "run", how="prompt", overrides=["start.context=14"])
    long = squares("long")
    next(path for path in long.iterdir() if path.is_dir()).rename(long / "red dog red dog red dog red dog red dog")
    with pytest.raises(UsageError, match=r"no room for the longest class name .* give the class a shorter name"):
        tuned(small_model, long, tmp_path / "run", how="prompt")


def test_a_learned_prompt_has_no_place_in_the_layouts_of_others(small_vit, tmp_path):
    from seesay.training.settings import StartSettings, TrainSettings
    from seesay.training.start import learner_from, without_adapters

    prompt = without_adapters(learner_from(small_vit, TrainSettings(start=StartSettings(how="prompt")), name="prompt"))
    with pytest.raises(UsageError, match=r"has \d+ learned words, and 256 more are above 256; take fewer"):
        learner_from(prompt, TrainSettings(start=StartSettings(how="prompt", context=256)), name="again")
    for layout in ("hf", "open_clip"):
        with pytest.raises(UsageError, match=r"no place for the \d learned words"):
            prompt.save(tmp_path / layout, layout=layout)


@pytest.mark.journey
def test_low_rank_updates_of_the_recommended_model_are_an_adapter_beside_it(small_vit, squares, tmp_path):
    from seesay.model.adapters import with_adapter

    result = tuned(small_vit, squares(), tmp_path / "run", how="lora", steps=12)
    assert result.chosen is not None
    again = with_adapter(small_vit, tmp_path / "run" / "adapter")
    texts = ["a photo of a red square."]
    assert torch.allclose(again.encode_texts(texts), result.model.encode_texts(texts), atol=1e-6)
    files = {path.name: path.stat().st_size for path in (tmp_path / "run" / "adapter").iterdir()}
    weights = (tmp_path / "run" / "model" / "model.safetensors").stat().st_size
    assert files["adapter_model.safetensors"] < weights / 2
    assert "PEFT" in (result.save_adapter.__doc__ or "")
    result.save_adapter(tmp_path / "own", "seesay")
    assert torch.equal(with_adapter(small_vit, tmp_path / "own").encode_texts(texts), again.encode_texts(texts))


@pytest.mark.journey
def test_pefts_format_of_towers_that_hugging_face_does_not_have_is_refused(small_model, squares, tmp_path):
    result = tuned(small_model, squares(), tmp_path / "run", how="lora", steps=12)
    with pytest.raises(UsageError, match="transformers has no CLIP with towers of the kinds conv"):
        result.save_adapter(tmp_path / "peft", "peft")
    other = tuned(small_model, squares("b"), tmp_path / "full", steps=2)
    with pytest.raises(UsageError, match="no low-rank updates"):
        other.save_adapter(tmp_path / "x")


@pytest.mark.journey
@pytest.mark.parametrize("how", ["lora", "image", "lock-image"])
def test_a_batch_in_chunks_has_the_gradients_of_the_whole(how, small_model, squares, tmp_path):
    data = squares()
    wholes = tuned(small_model, data, tmp_path / "whole", how=how, steps=3)
    parts = tuned(small_model, data, tmp_path / "parts", how=how, steps=3, micro_batch=3)
    ends = [seesay.load(each.folder / "train" / "model").clip.state_dict() for each in (wholes, parts)]
    apart = max(float((a - b).abs().max()) for a, b in zip(ends[0].values(), ends[1].values(), strict=True))
    # AdamW makes a step of any gradient's sign: those that are all but 0 may differ.
    assert apart < 2e-3
    first = [read_loss(each.folder / "train") for each in (wholes, parts)]
    assert first[0] == pytest.approx(first[1], rel=1e-5)


def read_loss(folder):
    run = seesay.open_run(folder)
    return run.events[-1]["loss"]


@pytest.mark.parametrize("how", ["image", "prompt"])
def test_captions_are_no_classes(how, small_model, coloured_pairs, tmp_path):
    with pytest.raises(UsageError, match=f"--?how {how} learns classes|how {how} learns classes"):
        tuned(small_model, coloured_pairs(60), tmp_path / "run", how=how)


def test_each_way_keeps_what_it_can_and_says_what_it_keeps(small_model):
    nobody, weights = Guards(measures=(), holding=Holding()), {}
    for how in ("full", "image", "lora", "prompt", "lock-image", "lock-text"):
        given = [TrainSettings(start=StartSettings(how=how, keep=keep)) for keep in (None, 2.0, 0.0)]
        assert [finetune_file.keeps(each) for each in given] == [how in finetune_file.KEEPING, True, False]
        weights[how], *named = (finetune_file.with_guards(each, small_model, nobody).start.keep for each in given)
        assert named == [2.0, 0.0]
    assert weights == {"full": 10, "image": 10, "lora": 10, "prompt": 0, "lock-image": 0, "lock-text": 0}


@pytest.mark.journey
def test_keeping_where_nothing_could_be_is_one_line(small_model, squares, coloured_pairs, tmp_path):
    words = ["start.keep=2.0"]
    with pytest.raises(UsageError, match=r"start.keep is 2, but a prompt changes no other row; leave it out"):
        tuned(small_model, squares(), tmp_path / "run", how="prompt", overrides=words)
    with pytest.raises(UsageError, match=r"start.keep is 2, which is for `seesay finetune`; leave it out"):
        seesay.train(coloured_pairs(24), out=tmp_path / "train", steps=1, device="cpu", workers=0, overrides=words)


def test_what_the_old_model_says_of_its_certainty_is_left_out_and_it_is_told(
    small_model, tmp_path, monkeypatch, capsys
):
    from seesay.finetuning.result import FineTuning
    from seesay.finetuning.sweep import Change, Point

    def point(a: float, gain: float) -> Point:
        change = Change(name="x", value=0.5 + gain, gain=gain, interval95=(gain, gain))
        return Point(a=a, target=change, guards=(change,))

    class Named:
        name, what, n, left_out = "photos", "top-1", 60, {}

    monkeypatch.setattr(finetune_file, "sweep", lambda *both, **named: [point(0.0, 0.0), point(1.0, 0.2)])
    values = {"folder": tmp_path, "model_name": "box", "how": "full", "target": Named, "guards": [Named]}
    for facts in ({"training": {}}, {"training": {}, "confidence": {"pairs": 7}}):
        small_model.facts = facts
        result = finetune_file.choose_model(FineTuning(**values, most_loss=1.0, seconds=1.0), small_model, small_model)
        assert result.model.facts.pop("finetuned")["a"] == 1
        assert result.model.facts == {name: fact for name, fact in facts.items() if name == "confidence"}


def test_the_error_names_what_the_best_model_gains_and_the_loss_to_allow_for_it(tmp_path):
    from seesay.finetuning.result import FineTuning, none_allowed
    from seesay.finetuning.sweep import Change, Point

    def point(a: float, gain: float, lost: float) -> Point:
        target = Change(name="target", value=0.2 + gain, gain=gain, interval95=(gain, gain))
        return Point(a=a, target=target, guards=(Change(name="g", value=0.5, gain=-lost, interval95=(-lost, 0.0)),))

    class Named:
        name, what, n, left_out = "photos", "top-1", 60, {}

    points = point(0.0, 0.0, 0.0), point(0.5, 0.15, 0.104), point(1.0, 0.1, 0.2)
    values = {"folder": tmp_path, "model_name": "box", "how": "full", "target": Named, "guards": [Named]}
    result = FineTuning(**values, most_loss=1.0, seconds=1.0, points=points)
    assert "at a = 0.5 it gains 15.0 points and may lose 10.40 points on g; allow that with most_loss 11," in str(
        none_allowed(result)
    )

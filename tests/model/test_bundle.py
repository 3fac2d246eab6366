"""A model folder gives back the model it was made of, or is refused with the file named."""

import io
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seesay.base.errors import BrokenSample, RefusedInput, SeesayError, UsageError
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model import bundle, hub
from seesay.model.bundle import Model
from seesay.model.hub import load
from seesay.model.zero_shot import cut_notes

TEXTS = ["a red dog", "", "blue " * 30, "Käse & 猫"]


def images(count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (14 + index, 22 - index, 3), dtype=np.uint8) for index in range(count)]


def encoded(image_HW3: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(image_HW3).save(data, "PNG")
    return data.getvalue()


def rewrite(folder: Path, change: Callable[[dict], None]) -> None:
    path = folder / "model.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    change(config)
    path.write_text(json.dumps(config), encoding="utf-8")


# Going out and coming back


def test_a_saved_model_comes_back_equal_to_the_last_bit(model: Model, folder: Path):
    again = load(folder)
    expected = model.clip.state_dict()
    assert list(again.clip.state_dict()) == list(expected)
    for name, tensor in again.clip.state_dict().items():
        assert torch.equal(tensor, expected[name]) and tensor.dtype == expected[name].dtype, name
    assert (again.name, again.templates, again.preprocess) == (model.name, model.templates, model.preprocess)
    assert again.architecture == model.architecture
    assert again.tokenizer.merges == model.tokenizer.merges
    assert again.logit_scale == model.logit_scale == pytest.approx(1 / 0.07)
    assert math.isnan(again.facts["training"].pop("loss")) and again.facts == {"training": {"steps": 0}}
    assert torch.equal(again.encode_images(images(3)), model.encode_images(images(3)))
    assert torch.equal(again.encode_texts(TEXTS), model.encode_texts(TEXTS))


def test_saving_what_was_loaded_writes_the_same_files(folder: Path, tmp_path: Path):
    load(folder).save(tmp_path / "again")
    for name in ("model.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_half_precision_halves_the_file_and_comes_back_as_float32_of_rounded_numbers(model: Model, tmp_path: Path):
    model.save(tmp_path / "whole")
    model.save(tmp_path / "half", dtype=torch.float16)
    again = load(tmp_path / "half")
    for name, tensor in model.clip.state_dict().items():
        is_float = tensor.is_floating_point()
        assert torch.equal(again.clip.state_dict()[name], tensor.half().float() if is_float else tensor), name
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.7 * sizes[1]
    cosines = (again.encode_images(images(4)) * model.encode_images(images(4))).sum(1)
    assert cosines.min() > 0.999


def test_a_model_that_could_not_be_loaded_again_is_not_saved(model: Model, tmp_path: Path):
    model.clip.image_tower.projection.data[0, 0] = 70_000.0
    with pytest.raises(SeesayError, match=r"image_tower\.projection .* not finite in torch\.float16"):
        model.save(tmp_path / "half", dtype=torch.float16)
    model.clip.image_tower.projection.data[0, 0] = math.nan
    with pytest.raises(SeesayError, match="not saved"):
        model.save(tmp_path / "nan")
    assert list(tmp_path.iterdir()) == []


def test_a_loaded_model_can_be_trained_on(folder: Path):
    model = load(folder)
    model.clip.train()
    pixels = torch.randn(4, 3, 16, 16)
    embedded = model.clip(pixels, model.tokenizer.tokens(TEXTS))
    (embedded.image_BD * embedded.text_BD).sum().backward()
    assert all(parameter.grad is not None for name, parameter in model.clip.named_parameters() if name != "logit_scale")


# Images and words in


def test_paths_bytes_pillow_images_and_arrays_are_the_same_images(model: Model, tmp_path: Path):
    image_HW3 = images(1)[0]
    (tmp_path / "x.png").write_bytes(encoded(image_HW3))
    kinds = [tmp_path / "x.png", str(tmp_path / "x.png"), encoded(image_HW3), Image.fromarray(image_HW3), image_HW3]
    rows = model.encode_images(kinds)
    assert rows.shape == (5, 8) and rows.dtype == torch.float32
    torch.testing.assert_close(rows, rows[:1].expand(5, 8), rtol=0, atol=1e-6)


@pytest.mark.parametrize("tokens", [1, 30, 8192])
def test_texts_that_begin_alike_or_come_twice_are_what_each_alone_gives(
    model: Model, monkeypatch: pytest.MonkeyPatch, tokens: int
):
    texts = [*TEXTS, *(f"a photo of {thing}" for thing in "abcdefghijkl"), *TEXTS]
    alone_ND = torch.cat([model.encode_texts([text]) for text in texts])
    monkeypatch.setattr("seesay.model.encode.TOKENS_AT_ONCE", tokens)
    rows_ND = model.encode_texts(texts)
    torch.testing.assert_close(rows_ND, alone_ND, rtol=0, atol=1e-6)
    torch.testing.assert_close(rows_ND.norm(dim=1), torch.ones(len(texts)))


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_many_at_once_are_what_one_by_one_gives_and_of_unit_length(model: Model, batch_size: int):
    alone_ND = torch.cat([model.encode_images([image]) for image in images(7)])
    rows_ND = model.encode_images(images(7), batch_size=batch_size)
    torch.testing.assert_close(rows_ND, alone_ND, rtol=0, atol=1e-6)
    torch.testing.assert_close(rows_ND.norm(dim=1), torch.ones(7))
    assert not rows_ND.requires_grad


def test_nothing_in_gives_no_rows_of_the_right_width(model: Model):
    for rows in (model.encode_images([]), model.encode_texts([])):
        assert rows.shape == (0, 8) and rows.dtype == torch.float32
    assert model.classify([], ["red", "blue"]) == []


def test_a_single_thing_in_place_of_a_list_is_refused(model: Model, tmp_path: Path):
    image_HW3 = images(1)[0]
    for single in ("dog.jpg", tmp_path / "dog.jpg", encoded(image_HW3), image_HW3, Image.fromarray(image_HW3)):
        with pytest.raises(TypeError):
            model.encode_images(single)
    with pytest.raises(TypeError, match="a list of strings"):
        model.encode_texts("a dog")
    with pytest.raises(TypeError, match="a list of strings"):
        model.classify([image_HW3], "dog")


def test_labels_that_come_twice_count_once_and_one_alone_is_refused(model: Model):
    with pytest.warns(UserWarning, match="'cat'"):
        ranking = model.classify([images(1)[0]], ["cat", "dog", "cat "])[0]
    assert sorted(ranking.labels) == ["cat", "dog"] and sum(ranking.probabilities) == pytest.approx(1)
    for labels in (["cat"], ["cat", "cat"], []):
        with pytest.raises(UsageError, match="to choose from"):
            model.classify([images(1)[0]], labels)


def test_a_image_that_is_missing_or_broken_is_an_error_of_ours(model: Model, tmp_path: Path):
    with pytest.raises(UsageError, match="no-such"):
        model.encode_images([tmp_path / "no-such.png"])
    with pytest.raises(BrokenSample):
        model.encode_images([encoded(images(1)[0])[:50]])


# Classes


@pytest.mark.filterwarnings("ignore:.* cut at the 8 tokens")
def test_probabilities_sum_to_one_and_labels_come_best_first(model: Model):
    labels = ["red dog", "blue dog", "cat", "mat"]
    probability_NC = model.classifier(labels).predict_proba(images(5))
    torch.testing.assert_close(probability_NC.sum(1), torch.ones(5))
    for row, ranking in zip(probability_NC, model.classify(images(5), labels), strict=True):
        assert list(ranking.probabilities) == sorted(row.tolist(), reverse=True)
        assert [labels[index] for index in row.argsort(descending=True)] == list(ranking.labels)


@pytest.mark.filterwarnings("ignore:.* cut at the 8 tokens")
def test_probabilities_are_the_softmax_of_scaled_cosines_with_the_mean_prompt(model: Model):
    labels, image = ["dog", "cat"], images(1)
    rows = []
    for label in labels:
        prompts = torch.stack([model.encode_texts([text])[0] for text in (f"a photo of a {label}.", f"the {label}")])
        rows.append(prompts.double().mean(0) / prompts.double().mean(0).norm())
    logits = model.logit_scale * torch.stack(rows) @ model.encode_images(image)[0].double()
    expected = dict(zip(labels, (logits.exp() / logits.exp().sum()).tolist(), strict=True))
    found = model.classify(image, labels)[0]
    assert dict(zip(found.labels, found.probabilities, strict=True)) == pytest.approx(expected, abs=1e-6)


def test_templates_of_the_call_take_the_place_of_the_models(model: Model):
    plain = model.classifier(["dog", "cat"], templates=["{}"])
    torch.testing.assert_close(plain.weights, model.encode_texts(["dog", "cat"]))
    assert len(plain.rank(model.encode_images(images(2)), top=1)[1].labels) == 1
    with pytest.raises(UsageError, match="places for the name"):
        model.classifier(["dog", "cat"], templates=["no place"])
    with pytest.raises(UsageError, match="no class names"):
        model.classifier([])


# Names to models


def test_a_name_that_is_nothing_is_refused_with_the_nearest_name(tmp_path: Path):
    with pytest.raises(UsageError, match=r"model 'bix' is no folder and no known name\. Nearest: box\."):
        load("bix")
    (tmp_path / "file").write_text("x")
    with pytest.raises(RefusedInput, match=r"file is no safetensors file"):
        load(tmp_path / "file")


def test_a_known_name_is_a_folder_of_the_package(folder: Path, monkeypatch):
    monkeypatch.setitem(hub.PACKAGED, "box", folder)
    assert load("box").name == "tiny"


def test_a_replacement_that_was_stopped_half_way_leaves_the_old_model_to_load(folder: Path):
    folder.rename(folder.with_name(".model.old-999999999-0123abcd"))
    assert load(folder).name == "tiny"


# Folders that are refused


def test_an_empty_folder_and_one_without_either_file_are_refused(folder: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RefusedInput, match=r"empty holds none of model\.json, open_clip_config\.json, config\.json"):
        load(tmp_path / "empty")
    (folder / "model.safetensors").unlink()
    with pytest.raises(RefusedInput, match=r"model\.safetensors is missing"):
        load(folder)
    os.mkfifo(folder / "model.safetensors")
    with pytest.raises(RefusedInput, match=r"model\.safetensors is missing"):
        load(folder)


def test_a_folder_above_models_is_answered_with_where_they_are(folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "run" / "train" / "model")
    with pytest.raises(RefusedInput, match=r"models lie below it: \S*run/train/model\.$"):
        load(tmp_path / "run")


@pytest.mark.parametrize(
    "key",
    ["architecture", "preprocess", "templates", "facts", "name", "tokenizer", "logit_scale", "weights_sha256"],
)
def test_a_key_that_is_missing_is_named_with_the_file(key: str, folder: Path):
    rewrite(folder, lambda config: config.pop(key))
    with pytest.raises(RefusedInput, match=rf"model\.json has no {key}"):
        load(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", "[" * 100_000, '{"format": 2}', '{"format": [1]}', "\x00", '"\\ud800"']
)
def test_a_description_that_is_none_is_refused(text: str, folder: Path):
    (folder / "model.json").write_text(text)
    with pytest.raises(RefusedInput, match=r"model\.json"):
        load(folder)
    (folder / "model.json").write_bytes(b"\xff\xfe")
    with pytest.raises(RefusedInput, match=r"model\.json"):
        load(folder)


def place(config: dict, path: str, value: object) -> None:
    *sections, key = path.split(".")
    for section in sections:
        config = config[section]
    config[key] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("architecture.image", {"kind": "vit", "image_size": 16, "patch": 8, "width": 8, "layers": 10**9, "heads": 1}),
        ("architecture.image", {"kind": "vit", "image_size": 16, "patch": 0, "width": 8, "layers": 1, "heads": 1}),
        ("architecture.image", {"kind": "vit", "image_size": 16, "patch": 3, "width": 8, "layers": 1, "heads": 1}),
        ("architecture.image", {"kind": "vit", "image_size": 16, "patch": 8, "width": 8, "layers": 1, "heads": 3}),
        ("architecture.image.width", -1),
        ("architecture.image.width", 8.0),
        ("architecture.image.width", "8"),
        ("architecture.image.width", 10**30),
        ("architecture.image.depths", []),
        ("architecture.image.depths", [10**9]),
        pytest.param("architecture.image.depths", [128, 128, 128, 128], marks=pytest.mark.journey),
        ("architecture.image.kind", "resnet"),
        ("architecture.image.image_size", 32),
        ("architecture.image.colours", 3),
        ("architecture.text.vocab_size", 10**9),
        ("architecture.text.context", 0),
        ("architecture.embed_dim", 16),
        ("architecture.embed_dim", True),
        ("architecture", None),
        ("architecture", []),
        ("preprocess.size", 10**9),
        ("preprocess.size", 0),
        ("preprocess.std", [0, 1, 1]),
        ("preprocess.mean", [0.5]),
        ("preprocess", "clip"),
        ("templates", "a photo of a {}."),
        ("templates", []),
        ("templates", ["no place for the name"]),
        ("templates", [3]),
        ("facts", []),
        ("name", 7),
        ("logit_scale", "100"),
        ("weights_sha256", None),
        ("weights_sha256", "0" * 64),
        ("tokenizer", None),
        ("tokenizer", []),
        ("tokenizer.kind", "words"),
        ("tokenizer.context", 9),
        ("tokenizer.context", "8"),
        ("tokenizer.merges", "a b"),
        ("tokenizer.merges", [1, 2]),
        ("tokenizer.merges", [["a", "b"]]),
        ("tokenizer.merges", ["a b c"]),
        ("tokenizer.merges", ["a b", "a b"]),
        ("tokenizer.merges", ["never seen"]),
        ("tokenizer.merges", ["a b"]),
        ("tokenizer.merges", ["\ud800 a"]),
    ],
)
def test_a_description_that_lies_is_refused_before_anything_is_built(path: str, value: object, folder: Path):
    rewrite(folder, lambda config: place(config, path, value))
    with pytest.raises(RefusedInput, match=r"model\.(json|safetensors)") as refused:
        load(folder)
    assert "\n" not in str(refused.value)


def test_a_tokenizer_of_another_model_is_refused(folder: Path):
    other = CaptionTokenizer.train(["completely other words"] * 4, vocab_size=560, context=8)
    rewrite(folder, lambda config: config.update(tokenizer=other.to_json()))
    with pytest.raises(RefusedInput, match="they are of two models"):
        load(folder)


def test_a_refused_folder_costs_no_memory_and_leaves_no_half_model(folder: Path, monkeypatch):
    made = []
    monkeypatch.setattr(bundle, "Model", lambda *_, **__: made.append(1))
    image = {"kind": "vit", "image_size": 2048, "patch": 1, "width": 8192, "layers": 128, "heads": 1}
    rewrite(folder, lambda config: config["architecture"].update(image=image))
    rewrite(folder, lambda config: config["preprocess"].update(size=2048))
    with pytest.raises(RefusedInput, match=r"model\.safetensors does not fit its architecture"):
        load(folder)
    assert made == []


def test_weights_of_another_model_of_the_same_shape_are_refused(model: Model, folder: Path, tmp_path: Path):
    with torch.no_grad():
        model.clip.image_tower.projection += 1
    model.save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(RefusedInput, match=r"model\.safetensors is not the file its model folder was saved with"):
        load(folder)


def test_a_model_and_its_classifier_show_what_they_are_in_one_line(model: Model, predictor):
    assert repr(model) == "<Model tiny: conv + bag-of-words, 5,989 parameters, embed_dim 8, 16 px, 2 templates>"
    classifier = model.classifier(["dog", "cat", "mat", "hat"])
    assert repr(classifier) == "<ZeroShotClassifier: 4 classes (dog, cat, mat, ...), weights (4, 8)>"
    likelihoods = predictor("n-grams").classifier(["dog", "cat"], ["a {}", "the {}"])
    assert repr(likelihoods) == "<LikelihoodClassifier: 2 classes (dog, cat), likelihoods of 4 prompts>"


@pytest.mark.parametrize(
    "labels", [("Cat", "cat"), ("a red dog and a cat", "a red dog and a dog"), ("dog", "cat", "DOG")]
)
def test_labels_that_are_one_to_the_model_are_refused(model, labels):
    with pytest.raises(UsageError, match=r"are the same to the model: it reads 8 tokens"):
        model.classify([np.zeros((16, 16, 3), np.uint8)], labels, ["{}"])


def test_texts_that_are_cut_are_counted_over_all_blocks(model, monkeypatch):
    monkeypatch.setattr("seesay.model.zero_shot.PROMPTS_AT_ONCE", 2)
    long = [f"a red dog and a cat {number}" for number in range(5)]
    (note,) = cut_notes(model.tokenizer, ["cat", *long, "dog"])
    assert note.startswith("5 texts are cut at the 8 tokens the model reads: 'a red dog and a cat 0', ")
    assert cut_notes(model.tokenizer, ["cat", "dog"]) == () == cut_notes(model.tokenizer, [])


def test_labels_that_are_cut_are_counted(model):
    read = model.read_labels(["cat", "a red dog and a cat", "a blue dog and a cat"], ["{}"])
    assert read.cut == ("a red dog and a cat", "a blue dog and a cat") and read.alike == ()
    assert read.notes == (
        "2 labels are cut at the 8 tokens the model reads: 'a red dog and a cat', 'a blue dog and a cat'.",
    )
    assert model.read_labels(["cat", "dog"], ["{}"]).notes == ()

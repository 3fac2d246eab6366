"""Descriptions and weights of every layout, changed at random: each folder is read or refused by an error of ours."""

import copy
import json
import random
import shutil
from pathlib import Path
from typing import Any

import open_clip_folders
import pytest
from transformers_folders import halved, naflex, nest, split, with_added_tokens, wrapped

from seesay.base.errors import SeesayError
from seesay.data.file_tokenizer import FileTokenizer
from seesay.data.images import Preprocess
from seesay.model.bundle import Model
from seesay.model.hub import load
from seesay.nets.architecture import Architecture, TimmImageConfig, TransformersTextConfig
from seesay.nets.clip import build_clip

# Of what nobody writes: other kinds, no numbers, too large, too small, names that lead elsewhere.
ODD: tuple[Any, ...] = (
    *(None, True, False, [], {}, "", "a", "../a", "\ud800", "nan", -1, 0, 1, 2, 7, 10**9, 10**30, 0.5, -0.0, 1e308),
    *(float("nan"), float("inf"), [1, 2, 3, 4], [0.5] * 3, {"eps": 1e-6}, ["a"] * 4, {"a": {"a": []}}, "silu" * 50),
)


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Where every value in a JSON value lies."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    # A vocabulary has thousands, and all are alike.
    return found + [place for key, inner in list(items)[:40] for place in places(inner, (*path, key))]


def changed(value: Any, rng: random.Random) -> Any:
    """The value with one to three of its parts left out, replaced by odd ones, or by another part of it."""
    for _ in range(rng.randint(1, 3)):
        *above, last = rng.choice(places(value) or [("a",)])
        inner = value
        for key in above:
            inner = inner[key]
        if not isinstance(inner, dict | list) or last not in (inner if isinstance(inner, dict) else range(len(inner))):
            continue
        fate = rng.random()
        if fate < 0.2:
            del inner[last]
        elif fate < 0.3 and isinstance(inner, dict):
            inner[rng.choice(["a", "layers", "pool_type", "eps", "weight_map"])] = copy.deepcopy(rng.choice(ODD))
        else:
            inner[last] = copy.deepcopy(rng.choice(ODD))
    return value


def mutate(file: Path, rng: random.Random) -> None:
    """Change a value of the JSON, that at the head of a safetensors file too, or now and then a byte of the file."""
    data = file.read_bytes()
    if file.suffix == ".safetensors" and rng.random() < 0.7:
        end = 8 + int.from_bytes(data[:8], "little")
        head = json.dumps(changed(json.loads(data[8:end]), rng)).encode()
        data = len(head).to_bytes(8, "little") + head + data[end:]
    elif file.suffix == ".json" and rng.random() < 0.85:
        data = json.dumps(changed(json.loads(data), rng)).encode()
    else:
        at = rng.randrange(len(data))
        data = data[:at] + bytes([rng.randrange(256)]) * rng.choice([0, 1, 9]) + data[at + rng.choice([0, 1, 50]) :]
    file.write_bytes(data)


@pytest.fixture
def folders(vit: Model, resnet: Model, siglip: Model, open_clip_siglip_folder: Path, tmp_path: Path) -> dict[str, Path]:
    """A folder of each layout and kind."""
    for name, model, layout in (
        ("hf", vit, "hf"),
        ("shards", vit, "hf"),
        ("hf-siglip", siglip, "hf"),
        ("open_clip", vit, "open_clip"),
        ("resnet", resnet, "open_clip"),
        ("seesay", vit, "seesay"),
    ):
        model.save(tmp_path / name, layout)
    split(tmp_path / "shards")
    nest(tmp_path / "shards")
    open_clip_folders.clipa(tmp_path / "clipa")
    open_clip_folders.worldwide(tmp_path / "worldwide")
    for name, side in (("images", "vision"), ("texts", "text")):
        vit.save(tmp_path / name, "hf")
        halved(tmp_path / name, side)
    vit.save(tmp_path / "added", "hf")
    with_added_tokens(tmp_path / "added", ["<zebra>"])
    vit.save(tmp_path / "wrapped" / "0_CLIPModel", "hf")
    wrapped(tmp_path / "wrapped", [("0_CLIPModel", "sentence_transformers.models.CLIPModel")])
    names = ("hf", "shards", "hf-siglip", "open_clip", "resnet", "seesay", "clipa", "worldwide")
    names += ("images", "texts", "added", "wrapped", "naflex")
    naflex(tmp_path / "naflex", siglip)
    return {name: tmp_path / name for name in names} | {"open_clip-siglip": open_clip_siglip_folder}


def attack(folders: dict[str, Path], *, seed: int, count: int, tmp_path: Path) -> dict[str, int]:
    """Outcomes of so many changed folders, in turn of each kind, by the name of the error or "read"."""
    rng, outcomes = random.Random(seed), {}
    for number in range(count):
        folder = folders[list(folders)[number % len(folders)]]
        changed_one = tmp_path / "changed"
        shutil.rmtree(changed_one, ignore_errors=True)
        shutil.copytree(folder, changed_one)
        files = [path for path in changed_one.rglob("*") if path.suffix in (".json", ".safetensors")]
        mutate(rng.choice(sorted(files)), rng)
        try:
            load(changed_one)
            outcome = "read"
        except SeesayError as error:
            outcome = type(error).__name__
            assert "\n" not in str(error) and len(str(error)) < 2500
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return outcomes


@pytest.mark.journey
def test_changed_descriptions_are_read_or_refused(folders: dict[str, Path], tmp_path: Path):
    outcomes = attack(folders, seed=0, count=180, tmp_path=tmp_path)
    assert set(outcomes) <= {"read", "RefusedInput", "UsageError"} and outcomes["RefusedInput"] > 60


@pytest.fixture
def borrowed(vit: Model, operators, tmp_path: Path) -> dict[str, Path]:
    """Folders of models with a tower of timm and one of transformers, where both are installed."""
    pytest.importorskip("torchvision", reason="timm needs torchvision", exc_type=ImportError)
    pytest.importorskip("timm")
    pytest.importorskip("transformers")
    whole, _ = open_clip_folders.xlm()
    words = FileTokenizer(whole.to_str(), context=8)
    image = TimmImageConfig(image_size=64, name="test_convnext", pool="")
    text = TransformersTextConfig(
        family="xlm-roberta", context=8, vocab_size=80, pad=1, width=16, layers=1, heads=2, mlp_width=32, positions=20
    )
    cases = {
        "timm": (image, vit.architecture.text, vit.tokenizer, "open_clip"),
        "timm-seesay": (image, vit.architecture.text, vit.tokenizer, "seesay"),
        "transformers": (vit.architecture.image, text, words, "seesay"),
    }
    for name, (of_image, of_text, tokenizer, layout) in cases.items():
        architecture = Architecture(embed_dim=24, image=of_image, text=of_text)
        clip, preprocess = build_clip(architecture, seed=0), Preprocess(size=of_image.image_size)
        Model(clip, architecture, tokenizer, preprocess=preprocess).save(tmp_path / name, layout)
    return {name: tmp_path / name for name in cases}


@pytest.mark.journey
@pytest.mark.filterwarnings("ignore")
def test_changed_descriptions_of_other_libraries_towers_are_read_or_refused(borrowed: dict[str, Path], tmp_path: Path):
    outcomes = attack(borrowed, seed=1, count=180, tmp_path=tmp_path)
    assert set(outcomes) <= {"read", "RefusedInput", "UsageError"} and outcomes["RefusedInput"] > 60


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore")
def test_two_thousand_changed_descriptions_of_other_libraries_towers(borrowed: dict[str, Path], tmp_path: Path):
    outcomes = attack(borrowed, seed=2, count=2000, tmp_path=tmp_path)
    print(outcomes)
    assert set(outcomes) <= {"read", "RefusedInput", "UsageError"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(1, 6))
def test_ten_thousand_changed_descriptions(seed: int, folders: dict[str, Path], tmp_path: Path):
    outcomes = attack(folders, seed=seed, count=2000, tmp_path=tmp_path)
    print(outcomes)
    assert set(outcomes) <= {"read", "RefusedInput", "UsageError"}

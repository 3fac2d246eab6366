"""A model is found by every spelling of its name and by its run; what cannot be found is answered with a way on."""

import shutil
from pathlib import Path

import pytest

from seesay.base.errors import UsageError
from seesay.base.names import same_name
from seesay.cli.evaluate import split_words
from seesay.cli.main import main
from seesay.model import hub
from seesay.model.build import build
from seesay.model.bundle import Model
from seesay.model.hub import load
from seesay.model.known_models import KNOWN, PAPER_REPOSITORIES
from seesay.model.open_clip_names import OPEN_CLIP
from seesay.nets.presets import PRESETS, preset_name
from seesay.training.objectives import OBJECTIVES, objective_of


@pytest.mark.parametrize("known", [KNOWN, PRESETS, OBJECTIVES], ids=["models", "sizes", "objectives"])
def test_no_two_names_have_the_same_spelling(known):
    assert [same_name(name, known) for name in known] == list(known)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("ViT-B-32", "ViT-B/32"),
        ("vit_b_16", "ViT-B/16"),
        ("ViT-L/14@336px", "ViT-L/14@336"),
        ("vit-l-14-336", "ViT-L/14@336"),
        ("rn50X16", "RN50x16"),
        ("Conv_Tiny", "conv-tiny"),
    ],
)
def test_a_size_has_one_name_in_all_spellings(spelling, name):
    assert preset_name(spelling) == name


def test_what_is_built_bears_the_name_as_it_is_spelt_here():
    assert build("Conv_Tiny").name == "conv-tiny"
    assert objective_of("Contrastive_BOW").name == "contrastive-bow"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("openai/ViT-B/32", "openai/ViT-B-32"),
        ("OPENAI/vit_l_14_336px", "openai/ViT-L-14-336"),
        ("google/siglip-base-patch16-224", "siglip/ViT-B-16-224"),
        ("siglip2/so400m-14-384", "siglip2/SO400M-14-384"),
    ],
)
def test_a_known_model_is_fetched_under_any_spelling_and_by_its_repository(name, known, folder: Path, monkeypatch):
    fetched = []
    monkeypatch.setattr(hub, "download", lambda repository, **_: fetched.append(repository.name) or folder)
    assert load(name).name == "tiny"
    assert fetched == [KNOWN[known].repository]


@pytest.mark.parametrize("word", ["openai/ViT-B/32", "Box", "google/siglip-base-patch16-224", "hf:a/b"])
def test_evaluate_takes_every_spelling_for_a_model_and_not_for_a_set(word):
    assert split_words(["box", word, "pets"]) == (("box", word), ("pets",))


def test_the_packaged_model_is_found_in_any_case():
    assert load("Box").name == load("box").name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("openai/clip-vit-base-patch32", r"Here it is openai/ViT-B-32, with the same weights; from its repository it "
                                         r"is hf:openai/clip-vit-base-patch32\."),
        ("somebody/something", r"As a repository of huggingface\.co it is hf:somebody/something\."),
        ("ViT-B/32", r"Models of that size are openai/ViT-B-32, laion/ViT-B-32, datacomp/ViT-B-32; to train one"),
        ("vit_l_14", r"Models of that size are openai/ViT-L-14, laion/ViT-L-14"),
        ("conv-tiny", r"It is a size, and has no weights before"),
        ("opanai/ViT-B-32", r"Nearest: openai/ViT-B-32"),
        ("xyzzy", r"no known name\. `seesay models`"),
    ],
)  # fmt: skip
def test_an_unknown_name_is_answered_with_what_it_may_be(name, hint, monkeypatch):
    monkeypatch.setattr(hub, "download", lambda repository, **_: pytest.fail("nothing is fetched for a guess"))
    with pytest.raises(UsageError, match=hint):
        load(name)


def test_a_path_below_a_folder_that_is_there_is_not_taken_for_a_repository(tmp_path: Path, monkeypatch):
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"no known name\. `seesay models`"):
        load("runs/xyzzy")


def test_openais_repositories_are_known_models():
    assert set(PAPER_REPOSITORIES.values()) <= set(KNOWN)


# Runs


@pytest.fixture
def run_folder(folder: Path) -> Path:
    (folder.parent / "settings.toml").touch()
    return folder.parent


def test_a_run_is_taken_for_its_model(run_folder: Path):
    assert load(run_folder).name == load(str(run_folder)).name == "tiny"


def test_a_run_that_is_not_finished_says_so(run_folder: Path):
    shutil.rmtree(run_folder / "model")
    with pytest.raises(UsageError, match="is a run that is not finished"):
        load(run_folder)


def test_a_model_beside_settings_stays_the_model(model: Model, run_folder: Path):
    model.name = "outer"
    for file in (run_folder / "model").iterdir():
        shutil.copy(file, run_folder)
    model.save(run_folder / "model")
    assert load(run_folder).name == "tiny"


# Devices


@pytest.mark.parametrize("device", ["gpu", "GPU", "cuda:99", "xpu", ""])
def test_a_device_that_is_not_there_is_one_line(model: Model, device):
    with pytest.raises(UsageError, match="device"):
        model.to(device)


# open_clip's names


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("ViT-B-32:laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
        ("ViT-L-14/openai", "timm/vit_large_patch14_clip_224.openai"),
        ("vit-b-16-siglip:webli", "timm/ViT-B-16-SigLIP"),
        ("hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
    ],
)
def test_open_clips_names_are_taken_as_people_write_them(name, repository, folder: Path, monkeypatch):
    fetched = []
    monkeypatch.setattr(hub, "download", lambda repository, **_: fetched.append(repository.name) or folder)
    assert load(name).name == "tiny" and fetched == [repository]
    assert split_words([name, "pets"]) == ((name,), ("pets",))


def test_no_name_of_open_clips_is_one_of_the_short_list_or_of_another():
    assert [same_name(name, OPEN_CLIP) for name in OPEN_CLIP] == list(OPEN_CLIP)
    assert not [name for name in OPEN_CLIP if same_name(name, KNOWN)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("operators")
def test_both_lists_are_those_of_open_clip_itself():
    pytest.importorskip("torchvision", reason="open_clip needs torchvision", exc_type=ImportError)
    open_clip = pytest.importorskip("open_clip")
    table = {
        f"{model}:{tag}": "/".join(entry["hf_hub"].split("/")[:2])
        for model, tags in open_clip.pretrained._PRETRAINED.items()
        for tag, entry in tags.items()
    }
    assert table == OPEN_CLIP
    theirs = set(table.values())
    ours = {known.repository for known in KNOWN.values() if not known.repository.startswith("google/")}
    assert ours <= theirs


def test_every_list_is_printed_and_the_long_one_is_named_by_the_short(capsys):
    assert main(["models"]) == 0
    short = capsys.readouterr()
    assert "196 more go by open_clip's names" in short.err and "ViT-B-32:laion2b_s34b_b79k" not in short.out
    assert main(["models", "--all"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert set(KNOWN) | set(OPEN_CLIP) <= rows.keys()
    assert rows["ViT-B-32:laion2b_s34b_b79k"].split()[-1] == "MIT"
    assert rows["ViTamin-S:datacomp1b"].split()[-1] == "hf:jienengchen/ViTamin-S"

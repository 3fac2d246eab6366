"""The hub as it is: every way in which it fails has a line of its own, and only what is needed is fetched from it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants, file_download
from huggingface_hub.utils import _http
from loopback_hub import (
    COMMIT,
    GATED,
    NO_FILE,
    Hub,
    cut_after,
    page,
    running,
    silent,
)
from safetensors.torch import load_file

from seesay.base import hub as errors
from seesay.base import journal
from seesay.base.errors import RefusedInput, SeesayError, StorageError, UsageError
from seesay.cli.main import main
from seesay.model import download as module
from seesay.model.bundle import Model
from seesay.model.hub import load

NAME = "hf:somebody/tiny"
TEXTS = ["a red dog", ""]


@pytest.fixture
def hub(saved_vit, tmp_path: Path, monkeypatch) -> Iterator[Hub]:
    """A hub with somebody/tiny in transformers' layout, which `huggingface_hub` asks in place of huggingface.co."""
    shutil.copytree(saved_vit("hf"), tmp_path / "tiny")
    with running(Hub({"somebody/tiny": tmp_path / "tiny"})) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        # It waits between its tries.
        pause = SimpleNamespace(sleep=lambda seconds: None)
        monkeypatch.setattr(_http, "time", pause)
        monkeypatch.setattr(file_download, "time", pause)
        yield hub
        _http.close_session()


def weights_of(hub: Hub) -> Path:
    return hub.repositories["somebody/tiny"] / "model.safetensors"


@pytest.mark.journey
def test_only_what_is_needed_is_fetched_and_that_once(hub: Hub, vit: Model):
    folder = hub.repositories["somebody/tiny"]
    for name in ("README.md", "pytorch_model.bin", "flax_model.msgpack", "onnx/model.onnx", "merges.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x" * 20_000)
    model = load(NAME)
    assert torch.equal(model.encode_texts(TEXTS), vit.encode_texts(TEXTS)) and model.name == "tiny"
    needed = ["config.json", "tokenizer_config.json", "tokenizer.json", "preprocessor_config.json", "model.safetensors"]
    files = [path.rpartition("/")[2] for path in hub.asked("GET") if path.startswith("/somebody/")]
    large = [path.rpartition("/")[2] for path in hub.asked("GET") if path.startswith("/large/")]
    assert sorted([*files, *large]) == sorted(needed)
    # `huggingface_hub` asks for a list of its own once in a process, which has nothing to do with the model.
    asked = [path for path in hub.asked() if path != "/api/agent-harnesses"]
    assert len(asked) == 1 + 2 * len(needed)
    hub.requests.clear()
    load(NAME)
    assert hub.requests == ["GET /api/models/somebody/tiny/revision/main"]
    hub.requests.clear()
    load(f"{NAME}@{COMMIT}")
    assert hub.requests == []


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub: Hub):
    hub.revisions |= {"v1.0": COMMIT, "refs/pr/1": COMMIT}
    for revision in ("v1.0", "refs/pr/1", COMMIT):
        assert load(f"{NAME}@{revision}").name == "tiny"
        assert any(path.endswith(f"/revision/{revision}") for path in hub.asked()) or revision == COMMIT
    with pytest.raises(UsageError, match=r"hf:somebody/tiny has no revision 'v9'; name a branch"):
        load(f"{NAME}@v9")
    with pytest.raises(UsageError, match="names no revision behind its @"):
        load(f"{NAME}@")


def test_open_clips_own_way_to_name_the_hub_is_taken(hub: Hub):
    assert load("hf-hub:somebody/tiny").name == "tiny"


@pytest.mark.journey
def test_a_token_goes_to_the_hub_and_not_to_where_large_files_lie(hub: Hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    load(NAME)
    assert any(path.startswith("/large/") for path in hub.asked("GET"))
    assert {token for _, token in hub.tokens} == {"Bearer hf_secret"}
    assert not [path for path, _ in hub.tokens if path.startswith("/large/")]


@pytest.mark.journey
def test_the_clip_of_a_sentence_transformer_is_fetched_from_its_folder_alone(hub: Hub, vit: Model, monkeypatch):
    folder = hub.repositories["somebody/tiny"]
    vit.save(folder / "0_CLIPModel", "hf")
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).unlink()
    module = {"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
    (folder / "modules.json").write_text(json.dumps([module]))
    model = load(NAME)
    assert model.name == "tiny" and torch.equal(model.encode_texts(TEXTS), vit.encode_texts(TEXTS))
    files = [path.partition("/resolve/")[2].partition("/")[2] for path in hub.asked("HEAD")]
    assert files[0] == "modules.json" and all(name.startswith("0_CLIPModel/") for name in files[1:])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load(NAME).name == load(f"{NAME}@{COMMIT}").name == "tiny"


@pytest.mark.parametrize("variant", ["fp16", "bf16"])
def test_weights_that_lie_only_rounded_are_fetched(variant: str, hub: Hub, vit: Model):
    weights_of(hub).rename(weights_of(hub).with_name(f"model.{variant}.safetensors"))
    assert torch.equal(load(NAME).encode_texts(TEXTS), vit.encode_texts(TEXTS))


LIST, WEIGHTS = "/revision/main", "model.safetensors"
BUSY = (429, {"Retry-After": "77"})
FAILURES = {
    "401": (LIST, (401, {"X-Error-Code": "RepoNotFound"}), 2, "is no public model of 127.0.0.1"),
    "401, a token that is none": (
        LIST,
        (401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
        2,
        r"does not take the token \(401: Invalid credentials",
    ),
    "403": (
        LIST,
        (403, {"X-Error-Message": "Forbidden by policy"}),
        2,
        r"may not be read .*\(403: Forbidden by policy",
    ),
    "401, nobody signed in": (LIST, (401, {}), 2, r"is not given to everybody by 127\.0.* \(401\); sign in"),
    "403, nobody signed in": (WEIGHTS, (403, {}), 2, r"is not given to everybody by 127\.0.* \(403\); sign in"),
    "404, of a mirror": (LIST, (404, {}), 2, r"is not known to 127\.0.* \(404\); check owner/name"),
    "gated": (LIST, GATED, 2, "may be read only after its terms are accepted on 127.0.0.1"),
    "gated, where the files are": (WEIGHTS, GATED, 2, "may be read only after its terms are accepted"),
    "404, no file": (WEIGHTS, NO_FILE, 4, "lists a file that 127.0.0.1.* does not have"),
    "429": (LIST, BUSY, 5, r"too many requests from here \(429\); try again in 77 s, or sign in"),
    "429, in the hub's own words": (
        LIST,
        (429, {"RateLimit": '"api";r=0;t=1234', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}),
        5,
        r"\(429\); try again in 1,234 s",
    ),
    "429, where the files are": (WEIGHTS, BUSY, 5, r"\(429\); try again in 77 s"),
    "503": (LIST, (503, {}), 5, "answers 503 Service Unavailable; try again later"),
    "503, where the files are": (WEIGHTS, (503, {}), 5, "answers 503 Service Unavailable; try again later"),
    "500": (LIST, (500, {"X-Error-Message": "Internal"}), 5, "answers 500 Internal Server Error: Internal; try again"),
    "a page of another network": (LIST, page, 5, "does not answer as a hub does; check HF_ENDPOINT"),
    "a page of another network, where the files are": (WEIGHTS, page, 5, "missing the 'X-Repo-Commit' header"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_every_failure_has_a_line_of_its_own(case: str, hub: Hub, tmp_path: Path, capfd):
    where, fault, code, line = FAILURES[case]
    hub.faults[where] = [fault]
    assert main(["convert", NAME, str(tmp_path / "new"), "--to", "seesay"]) == code
    told = [each for each in capfd.readouterr().err.splitlines() if each.startswith("error:")]
    assert len(told) == 1 and not (tmp_path / "new").exists()
    with pytest.raises(SeesayError, match=line):
        load(NAME)


def test_a_repository_that_is_not_there_is_one_line(hub: Hub):
    with pytest.raises(UsageError, match=r"hf:somebody/else is no public model of 127\.0\.0\.1.*hf auth login"):
        load("hf:somebody/else")


def test_who_is_signed_in_and_has_no_access_is_told_that(hub: Hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.faults[LIST] = [GATED]
    with pytest.raises(UsageError, match="is gated, and the account that is signed in here has no access"):
        load(NAME)


def test_a_hub_that_does_not_answer_is_not_waited_for(hub: Hub, monkeypatch):
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    hub.faults[LIST] = [silent(2.0)]
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:\d+ does not answer in time"):
        load(NAME)


@pytest.mark.journey
def test_a_hub_that_stops_in_the_middle_is_asked_for_the_rest_and_given_up(hub: Hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    hub.faults["/large/somebody/tiny/resolve/" + COMMIT + "/model.safetensors"] = [silent(1.0)]
    with pytest.raises(StorageError, match="does not answer in time"):
        load(NAME)
    assert len([path for path in hub.asked("GET") if path.startswith("/large/")]) == 6


def test_a_download_that_is_cut_goes_on_where_it_was(hub: Hub, vit: Model):
    size = weights_of(hub).stat().st_size
    hub.faults["/large/somebody/tiny/resolve/" + COMMIT + "/model.safetensors"] = [
        cut_after(size // 2, weights_of(hub)),
        cut_after(100, weights_of(hub)),
        lambda handler: handler.send_part(weights_of(hub).read_bytes(), {}),
    ]
    assert torch.equal(load(NAME).encode_texts(TEXTS), vit.encode_texts(TEXTS))
    assert len([path for path in hub.asked("GET") if path.startswith("/large/")]) == 3


def test_a_download_that_is_cut_again_and_again_is_one_line_and_leaves_nothing(hub: Hub, tmp_path: Path):
    hub.faults["/large/somebody/tiny/resolve/" + COMMIT + "/model.safetensors"] = [cut_after(0, weights_of(hub))]
    with pytest.raises(StorageError, match=r"hf:somebody/tiny could not be fetched \(peer closed connection"):
        load(NAME)
    assert not list((tmp_path / "cache").rglob("*.incomplete"))


def test_bytes_other_than_promised_are_not_kept(hub: Hub, tmp_path: Path):
    wrong = bytearray(weights_of(hub).read_bytes())
    wrong[-1] ^= 1
    hub.faults["/large/somebody/tiny/resolve/" + COMMIT + "/model.safetensors"] = [
        lambda handler: handler.send_part(bytes(wrong), {}),
        lambda handler: handler.send_part(weights_of(hub).read_bytes(), {}),
    ]
    with pytest.raises(RefusedInput, match="arrived with other bytes than the hub promised"):
        load(NAME)
    assert load(NAME).name == "tiny"


@pytest.mark.journey
def test_what_was_fetched_is_used_where_the_hub_fails_and_that_is_said(hub: Hub, monkeypatch, capfd):
    load(NAME)
    for fault in (BUSY, (503, {}), page, GATED):
        hub.faults[LIST] = [fault]
        assert load(NAME).name == "tiny"
        assert f"those fetched before are used (commit {COMMIT[:12]})" in capfd.readouterr().err
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert load(NAME).name == load(f"{NAME}@{COMMIT}").name == "tiny"
    assert hub.requests == [] and capfd.readouterr().err == ""


def test_without_a_network_what_is_not_there_is_one_line(hub: Hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(StorageError, match="is not in the cache, and HF_HUB_OFFLINE is set; unset it"):
        load(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match=r"is not in the cache, and 127\.0\.0\.1:9 cannot be reached .*refused"):
        load(NAME)


def test_what_cannot_be_read_is_refused_before_its_weights_are_fetched(hub: Hub):
    folder = hub.repositories["somebody/tiny"]
    for name in ("tokenizer.json", "merges.txt", "vocab.json"):
        (folder / name).unlink()
    with pytest.raises(RefusedInput, match="holds no vocabulary"):
        load(NAME)
    assert not [path for path in hub.asked() if path.endswith(".safetensors")]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "config.json",
            r"hf:somebody/tiny holds none of model\.json, .* but merges\.txt, model\.safetensors, .*no desc",
        ),
        ("model.safetensors", "describes a model and holds no weights"),
    ],
)
def test_a_repository_without_a_model_says_what_is_missing(name: str, line: str, hub: Hub):
    (hub.repositories["somebody/tiny"] / name).unlink()
    with pytest.raises(RefusedInput, match=line):
        load(NAME)


def pickled(hub: Hub) -> None:
    """The weights as a pickle, as they lay on the hub before safetensors."""
    torch.save(load_file(weights_of(hub)), weights_of(hub).with_name("pytorch_model.bin"))
    weights_of(hub).unlink()


def test_weights_that_are_only_a_pickle_are_refused_with_the_command_that_converts_them(hub: Hub):
    pickled(hub)
    with pytest.raises(
        RefusedInput,
        match=r"only as a Python pickle \(pytorch_model\.bin, 0 MB\).*convert hf:somebody/tiny NEW_FOLDER --f",
    ):
        load(NAME)
    assert not [path for path in hub.asked() if path.endswith(".bin")]


@pytest.mark.journey
@pytest.mark.parametrize("to", ["seesay", "hf"])
def test_a_pickle_of_the_hub_is_fetched_and_converted_in_one_go(to: str, hub: Hub, vit: Model, tmp_path: Path, capsys):
    pickled(hub)
    options = [] if to == "seesay" else ["--to", to]
    words = ["convert", NAME, str(tmp_path / "new"), "--from-pickle", "--force", *options]
    assert main(words) == 0
    assert "hf:somebody/tiny -> " in (said := capsys.readouterr().out) and f"({to}); largest difference 0.0e+00" in said
    made = load(tmp_path / "new")
    assert torch.equal(made.encode_texts(TEXTS), vit.encode_texts(TEXTS))
    assert (tmp_path / "new" / ("model.json" if to == "seesay" else "config.json")).is_file()


def test_safetensors_are_not_converted_from_a_pickle(hub: Hub, tmp_path: Path, capfd):
    assert main(["convert", NAME, str(tmp_path / "new"), "--from-pickle"]) == 2
    assert "has safetensors weights; leave --from-pickle out" in capfd.readouterr().err


@pytest.mark.journey
def test_a_hostile_pickle_of_the_hub_runs_nothing(hub: Hub, tmp_path: Path, capfd):
    pickled(hub)
    hostile = b"cposix\nsystem\n(S'touch " + str(tmp_path / "canary").encode() + b"'\ntR."
    weights_of(hub).with_name("pytorch_model.bin").write_bytes(hostile)
    assert main(["convert", NAME, str(tmp_path / "new"), "--from-pickle", "--force"]) == 4
    assert "it wants to use posix.system" in capfd.readouterr().err
    assert not (tmp_path / "canary").exists() and not (tmp_path / "new").exists()


def test_how_much_is_fetched_is_said_before_and_how_far_it_is_while_it_goes_on(hub: Hub, monkeypatch, capfd):
    monkeypatch.setattr(module, "ANNOUNCED", 0)
    monkeypatch.setattr(module, "MEGABYTE", 1000)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    for name in ("QUIET_SECONDS", "PLAIN_SECONDS"):
        monkeypatch.setattr(journal, name, 0.0)
    size = round(weights_of(hub).stat().st_size / 1000)
    load(NAME)
    first, *lines = capfd.readouterr().err.splitlines()
    assert first.startswith(f"fetching model.safetensors of hf:somebody/tiny from 127.0.0.1:{hub.port} to the cache: ")
    assert first.endswith(" MB") and len(lines) > 2 and all("MB" in line and "left" in line for line in lines)
    assert f" {size} MB" in first


def test_a_disk_that_is_full_is_named(hub: Hub, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "/somewhere")

    monkeypatch.setattr(file_download, "_download_to_tmp_and_move", full)
    with pytest.raises(StorageError, match=r"/somewhere.*the disk is full"):
        load(NAME)


def test_a_revision_that_leads_out_of_the_cache_is_kept_nowhere(tmp_path: Path):
    for revision in ("../../escaped", "/etc/escaped"):
        errors.keep_commit(tmp_path / "cache", revision, COMMIT)
        assert errors.commit_in_cache(tmp_path / "cache", revision) is None
    assert not list(tmp_path.rglob("escaped"))
    shutil.rmtree(tmp_path)

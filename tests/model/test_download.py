"""Models of the hub, from a cache that is filled by hand: no test opens a connection."""

import hashlib
from pathlib import Path

import pytest
from huggingface_hub import constants

from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.base.hub import check_promised
from seesay.model.bundle import Model
from seesay.model.hub import load
from seesay.model.known_models import KNOWN

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(model: Model, tmp_path: Path, monkeypatch) -> Path:
    """An offline cache that holds the repository somebody/tiny."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "hub" / "models--somebody--tiny"
    model.save(repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return repository


def test_what_is_in_the_cache_is_loaded_without_a_network(cache: Path, monkeypatch):
    assert load("hf:somebody/tiny").name == "tiny"
    monkeypatch.setitem(KNOWN, "tiny/short", KNOWN["laion/ViT-B-32"].__class__("somebody/tiny", "MIT"))
    assert load("tiny/short").name == "tiny"


def test_what_is_not_in_the_cache_needs_a_network(cache: Path):
    with pytest.raises(StorageError, match=r"hf:somebody/else is not in the cache.*HF_HUB_OFFLINE"):
        load("hf:somebody/else")
    (cache / "snapshots" / COMMIT / "model.safetensors").unlink()
    with pytest.raises(StorageError, match="hf:somebody/tiny is not in the cache"):
        load("hf:somebody/tiny")


@pytest.mark.parametrize("name", ["hf:", "hf:a/b/c", "hf:../../etc", "hf:a b/c"])
def test_a_name_that_cannot_be_one_is_refused(name: str, cache: Path):
    with pytest.raises(UsageError, match="is no public model"):
        load(name)


def sha256_name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_name(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@pytest.mark.parametrize("named", [sha256_name, git_name])
def test_bytes_other_than_promised_are_removed(named, tmp_path: Path):
    blob, link = tmp_path / named(b"promised"), tmp_path / "model.safetensors"
    link.symlink_to(blob)
    blob.write_bytes(b"promised")
    check_promised(link)
    assert link.exists()
    blob.write_bytes(b"arrived!")
    with pytest.raises(RefusedInput, match="other bytes than the hub promised"):
        check_promised(link)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_what_was_not_checked_when_it_came_is_checked_before_it_is_used(name, cache: Path):
    """A process killed between the last byte and the check left a wrong file that all later ones believed."""
    link = cache / "snapshots" / COMMIT / name
    honest = link.read_bytes()
    blob = cache / "blobs" / sha256_name(honest)
    blob.parent.mkdir()
    link.unlink()
    link.symlink_to(blob)
    blob.write_bytes(honest)
    assert load("hf:somebody/tiny").name == "tiny"
    assert sorted(path.name for path in blob.parent.iterdir()) == [blob.name, f"{blob.name}.checked"]
    blob.write_bytes(honest[:-1] + b"!")
    with pytest.raises(RefusedInput, match=f"{name} arrived with other bytes"):
        load("hf:somebody/tiny")
    assert not link.is_symlink() and not blob.exists()

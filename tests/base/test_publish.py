"""Every way a write can fail, one call at a time: by patched calls and by a killed process."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from systems import needs_folder_sync

from seesay.base.errors import StorageError, UsageError
from seesay.base.publish import (
    find_published,
    publish_chunks,
    publish_file,
    publish_folder,
    refuse_unwritable,
    refuse_unwritable_file,
    remove_stale,
    storage_error,
)

# Twice as many where folders are synced, too.
SYNC = pytest.param("fsync", marks=needs_folder_sync)
CALLS = ("write", SYNC, "replace")
OLD, NEW = {"a": b"old", "sub/b": b"old too"}, {"a": b"new", "sub/c": b"new too"}


def filler(content):
    def write(folder: Path) -> None:
        for name, data in content.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)

    return write


def content_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def leftovers(parent, kind="tmp"):
    return sorted(path.name for path in parent.iterdir() if f".{kind}-" in path.name)


def dead_pid():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def fail_at(monkeypatch, name, turn, failure):
    """Let the call number `turn` of os.<name> do `failure` instead; returns the list of calls made."""
    real, calls = getattr(os, name), []

    def patched(*arguments, **rest):
        calls.append(arguments)
        if len(calls) == turn:
            failure()
        return real(*arguments, **rest)

    monkeypatch.setattr(os, name, patched)
    return calls


def raising(code):
    def failure():
        raise OSError(code, os.strerror(code))

    return failure


def test_a_file_is_written_and_replaced(tmp_path):
    target = tmp_path / "new" / "folders" / "a.bin"
    publish_file(target, b"one")
    publish_file(target, bytes(3_000_000))
    assert target.read_bytes() == bytes(3_000_000)
    assert leftovers(target.parent) == []


def test_a_file_in_chunks_is_whole_or_the_old_one(tmp_path):
    publish_chunks(tmp_path / "a", (bytes([byte]) for byte in b"new"))
    assert (tmp_path / "a").read_bytes() == b"new"
    with pytest.raises(ZeroDivisionError):
        publish_chunks(tmp_path / "a", (bytes([1 // byte]) for byte in (1, 0)))
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_gets_the_permissions_a_plain_open_would_give(tmp_path):
    publish_file(tmp_path / "a", b"")
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_file_survives_short_writes(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:3]))
    publish_file(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_a_symlink_stays_and_what_it_points_to_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    publish_folder(tmp_path / "link", filler(NEW))
    assert (tmp_path / "link").is_symlink()
    assert content_of(tmp_path / "real") == NEW


def test_a_folder_is_written_and_replaced_whole(tmp_path):
    publish_folder(tmp_path / "run", filler(OLD))
    publish_folder(tmp_path / "run", filler(NEW))
    assert content_of(tmp_path / "run") == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_file_and_a_folder_do_not_replace_one_another(tmp_path):
    publish_file(tmp_path / "file", b"kept")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="file is a file"):
        publish_folder(tmp_path / "file", filler(NEW))
    with pytest.raises(UsageError, match="folder is a folder"):
        publish_file(tmp_path / "folder", b"")
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_an_exception_of_the_writer_leaves_the_old_folder_and_reaches_the_caller(tmp_path):
    publish_folder(tmp_path / "run", filler(OLD))

    def write(folder):
        (folder / "half").write_bytes(b"x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish_folder(tmp_path / "run", write)
    assert content_of(tmp_path / "run") == OLD
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("name", CALLS)
def test_a_failing_call_leaves_the_old_file_or_the_new_one(tmp_path, monkeypatch, name):
    target = tmp_path / "a"
    publish_file(target, b"old")
    with monkeypatch.context() as patch:
        calls = fail_at(patch, name, 0, raising(errno.EIO))
        publish_file(target, b"old")
    assert len(calls) == {"write": 1, "fsync": 2, "replace": 1}[name]
    for turn in range(1, len(calls) + 1):
        publish_file(target, b"old")
        with monkeypatch.context() as patch:
            calls = fail_at(patch, name, turn, raising(errno.EIO))
            with pytest.raises(StorageError, match="input/output error"):
                publish_file(target, b"new")
            assert len(calls) == turn, "a failed call is never retried"
        assert target.read_bytes() in (b"old", b"new")
        assert leftovers(tmp_path) == []


@pytest.mark.parametrize("name", [SYNC, "replace"])
@pytest.mark.parametrize("existing", [True, False])
def test_a_failing_call_leaves_the_old_folder_or_the_new_one(tmp_path, monkeypatch, name, existing):
    def start(place):
        if existing:
            publish_folder(place / "run", filler(OLD))

    start(tmp_path / "counted")
    with monkeypatch.context() as patch:
        calls = fail_at(patch, name, 0, raising(errno.EIO))
        publish_folder(tmp_path / "counted" / "run", filler(NEW))
    assert len(calls) == {"fsync": 5, "replace": 3 if existing else 1}[name] + (name == "fsync" and not existing)
    for turn in range(1, len(calls) + 1):
        place = tmp_path / f"turn-{turn}"
        start(place)
        with monkeypatch.context() as patch:
            fail_at(patch, name, turn, raising(errno.EIO))
            with pytest.raises(StorageError, match="run cannot be written: the disk reports an input/output error"):
                publish_folder(place / "run", filler(NEW))
        found = find_published(place / "run")
        assert found in (None, place / "run"), "what was moved aside is put back at once"
        assert (content_of(found) if found else None) in ([OLD, NEW] if existing else [None, NEW])
        assert leftovers(place) == []
        remove_stale(place)
        assert [path.name for path in place.iterdir()] == (["run"] if found else [])


def test_when_even_putting_back_fails_the_old_folder_is_found_and_comes_back(tmp_path, monkeypatch):
    publish_folder(tmp_path / "run", filler(OLD))
    real, calls = os.replace, []

    def only_the_first(source, target):
        calls.append(source)
        if len(calls) > 1:
            raise OSError(errno.EIO, "broken")
        return real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", only_the_first)
        with pytest.raises(StorageError):
            publish_folder(tmp_path / "run", filler(NEW))
    assert not (tmp_path / "run").exists()
    assert content_of(find_published(tmp_path / "run")) == OLD
    publish_folder(tmp_path / "run", filler(NEW))
    assert content_of(tmp_path / "run") == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


KILLED = """
import os, signal, sys
from pathlib import Path
from seesay.base.publish import publish_folder

name, turn, target = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
real, calls = getattr(os, name), 0

def patched(*arguments, **rest):
    global calls
    calls += 1
    if calls == turn:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **rest)

def write(folder):
    (folder / "a").write_bytes(b"new")
    (folder / "sub").mkdir()
    (folder / "sub" / "c").write_bytes(b"new too")

setattr(os, name, patched)
publish_folder(target, write)
"""


@pytest.mark.journey
@pytest.mark.parametrize(("name", "turns"), [("fsync", 5), ("replace", 3), ("rmdir", 2)])
def test_a_killed_process_leaves_a_complete_folder_and_what_it_left_is_removed(tmp_path, name, turns):
    for turn in range(1, turns + 1):
        place = tmp_path / f"turn-{turn}"
        publish_folder(place / "run", filler(OLD))
        child = subprocess.run([sys.executable, "-c", KILLED, name, str(turn), str(place / "run")], check=False)
        assert child.returncode == -signal.SIGKILL
        assert content_of(find_published(place / "run")) in (OLD, NEW)
        remove_stale(place)
        assert [path.name for path in place.iterdir()] == ["run"]
        assert content_of(place / "run") in (OLD, NEW)


def test_the_next_publish_puts_a_stopped_replacement_back_before_it_begins(tmp_path):
    aside = tmp_path / f".run.old-{dead_pid()}-01234567"
    aside.mkdir()
    filler(OLD)(aside)

    def write(folder):
        assert content_of(tmp_path / "run") == OLD
        filler(NEW)(folder)

    publish_folder(tmp_path / "run", write)
    assert content_of(tmp_path / "run") == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_remove_stale_takes_only_what_dead_processes_left(tmp_path):
    dead, alive = dead_pid(), os.getppid()
    stale = [tmp_path / f".a.txt.tmp-{dead}-01234567", tmp_path / f".run.tmp-{os.getpid()}-89abcdef"]
    stale[0].write_bytes(b"half")
    stale[1].mkdir()
    kept = [tmp_path / f".a.txt.tmp-{alive}-01234567", tmp_path / ".b.tmp-x", tmp_path / "a.txt.tmp-1-01234567"]
    for path in kept:
        path.write_bytes(b"")
    assert remove_stale(tmp_path) == stale
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert remove_stale(tmp_path / "missing") == []


def test_remove_stale_leaves_the_temporary_that_is_being_written(tmp_path):
    publish_folder(tmp_path / "run", lambda folder: (filler(NEW)(folder), remove_stale(tmp_path))[0])
    assert content_of(tmp_path / "run") == NEW


def test_nothing_published_is_nothing_found(tmp_path):
    assert find_published(tmp_path / "run") is None
    assert find_published(tmp_path / "missing" / "run") is None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_with_the_bytes_free(tmp_path, code):
    told = str(storage_error(OSError(code, "x"), tmp_path / "not" / "yet"))
    free = int(re.search(r"\(([\d,]+) bytes free\)", told)[1].replace(",", ""))
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    assert "not/yet cannot be written" in told
    assert "bytes free" not in str(storage_error(OSError(code, "x"), "standard output"))


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO])
def test_other_refusals_of_the_disk_are_storage_errors_too(tmp_path, monkeypatch, code):
    monkeypatch.setattr(os, "fsync", lambda handle: raising(code)())
    with pytest.raises(StorageError) as caught:
        publish_file(tmp_path / "a", b"x")
    assert str(caught.value).startswith(f"{tmp_path / 'a'} cannot be written: ")


def test_an_error_that_is_not_about_storage_keeps_its_type(tmp_path):
    with pytest.raises(OSError, match="File name too long"):
        publish_file(tmp_path / ("x" * 300), b"")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a file system that makes no files is wanted")
def test_a_place_where_no_file_can_be_made_is_named_as_it_was_given():
    for refuse in (refuse_unwritable, lambda path: refuse_unwritable_file(path, "-o")):
        with pytest.raises(StorageError, match=r"^/proc/new cannot be written: no file can be made there; choose"):
            refuse("/proc/new")


@pytest.mark.parametrize("below", ["new", "not/yet/new"])
def test_a_file_in_the_way_of_a_new_folder_is_a_storage_error_that_names_it(tmp_path, below):
    (tmp_path / "file").write_bytes(b"")
    for publish in (lambda path: publish_file(path, b""), lambda path: publish_folder(path, filler(NEW))):
        with pytest.raises(StorageError, match=r"/file is a file and no folder, so nothing .* choose another"):
            publish(tmp_path / "file" / below)


def test_publishing_removes_what_dead_processes_left_of_the_same_name(tmp_path):
    dead, alive = dead_pid(), os.getppid()
    kept = [f".run.tmp-{alive}-01234567", f".other.tmp-{dead}-01234567", "run"]
    for name in (f".run.tmp-{dead}-01234567", f".run.tmp-{os.getpid()}-89abcdef", *kept[:2]):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_bytes(b"half")
    publish_folder(tmp_path / "run", filler(NEW))
    assert {path.name for path in tmp_path.iterdir()} == set(kept)
    assert content_of(tmp_path / "run") == NEW


def test_a_file_system_without_fsync_of_folders_is_usable(tmp_path, monkeypatch):
    real = os.fsync

    def patched(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(errno.EINVAL, "no")
        real(handle)

    monkeypatch.setattr(os, "fsync", patched)
    publish_folder(tmp_path / "run", filler(NEW))
    assert content_of(tmp_path / "run") == NEW


def test_a_leftover_of_a_process_that_cannot_be_is_removed(tmp_path):
    (tmp_path / f".x.tmp-{'9' * 20}-0123abcd").touch()
    assert len(remove_stale(tmp_path)) == 1 and os.listdir(tmp_path) == []

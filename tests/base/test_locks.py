"""One process holds a file, by what each system has for it."""

import os
import sys
from types import ModuleType

import pytest
from systems import needs_locks

from seesay.base import locks
from seesay.base.journal import LOCK_NAME, Journal
from seesay.base.locks import take_lock
from seesay.tasks.resume_file import ResumeFile


@needs_locks
def test_a_file_is_held_until_it_is_closed(tmp_path):
    with (tmp_path / "a").open("a+b") as first, (tmp_path / "a").open("a+b") as second:
        assert take_lock(first) and not take_lock(second)
        first.close()
        assert take_lock(second)


@needs_locks
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_what_a_process_forks_does_not_hold_its_files(tmp_path):
    """A loader or a decoder outlives a process that was killed, and the file must be free."""
    (reading, writing), (told, telling) = os.pipe(), os.pipe()
    with (tmp_path / "a").open("a+b") as first, (tmp_path / "a").open("a+b") as second:
        assert take_lock(first)
        child = os.fork()
        if not child:
            os.close(writing)
            os.write(telling, b".")
            os.read(reading, 1)
            os._exit(0)
        try:
            os.read(told, 1)
            first.close()
            assert take_lock(second), "the child has a copy of the open file"
        finally:
            for end in (writing, reading, told, telling):
                os.close(end)
            os.waitpid(child, 0)


@pytest.fixture
def msvcrt(monkeypatch):
    """Locks as Windows has them: of one byte at the file's position; a `PermissionError` where it is held."""
    module, held = ModuleType("msvcrt"), {}

    def locking(handle, mode, count):
        file, at = locks.os.fstat(handle).st_ino, locks.os.lseek(handle, 0, locks.os.SEEK_CUR)
        if held.setdefault((file, at), handle) != handle:
            raise PermissionError(13, "Permission denied")
        assert mode == module.LK_NBLCK and count == 1

    module.LK_NBLCK, module.locking, module.held = 2, locking, held
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", module)
    return module


def test_windows_locks_a_byte_behind_the_end_and_the_file_is_read_where_it_was(tmp_path, msvcrt):
    (tmp_path / "a").write_bytes(b"who holds it")
    with (tmp_path / "a").open("r+b") as first, (tmp_path / "a").open("r+b") as second:
        first.seek(4)
        assert take_lock(first) and not take_lock(second)
        assert first.read() == b"holds it" and second.read() == b"who holds it"
    ((_, at),) = msvcrt.held
    assert at == (1 << 31) - 2


def test_a_run_folder_is_held_on_windows_and_the_message_names_its_owner(tmp_path, msvcrt):
    with Journal(tmp_path), pytest.raises(Exception, match=r"in use by process \d+ on .*; wait or stop it"):
        Journal(tmp_path).__enter__()


def test_without_locks_nothing_is_held_and_that_is_said_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", None)
    locks._warn.cache_clear()
    with Journal(tmp_path), Journal(tmp_path), ResumeFile(tmp_path / "out.csv", {}, count=1, block=1):
        pass
    assert capsys.readouterr().err.count("warning: this system has no locks for files") == 1


def test_a_run_folder_is_opened_where_a_fork_cannot_be_watched(tmp_path, monkeypatch):
    monkeypatch.delattr(locks.os, "register_at_fork", raising=False)
    with Journal(tmp_path) as journal:
        journal.event(step=1)
    assert (tmp_path / LOCK_NAME).exists()


def test_a_part_file_that_windows_does_not_remove_while_it_is_open_is_closed_first(tmp_path, monkeypatch):
    path_type = type(tmp_path)
    real = path_type.unlink
    with ResumeFile(tmp_path / "out.csv", {}, count=1, block=1) as file:

        def unlink(path, missing_ok=False):
            if not file._file.closed:
                raise PermissionError(13, "Permission denied")
            real(path, missing_ok=missing_ok)

        monkeypatch.setattr(path_type, "unlink", unlink)
        file.append([["cat"]])
        file.remove()
        assert not file.path.exists()

"""The process that reads a pickle, and what is made of its answer."""

import json
import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from seesay.base.errors import SeesayError, StorageError
from seesay.model import unpickle
from seesay.model.pickles import convert_pickle
from seesay.model.unpickle import answer_why


def test_the_process_that_reads_has_no_network():
    with socket.create_server(("127.0.0.1", 0)) as server:
        script = (
            "import socket, sys; from seesay.model.unpickle import leave_network\n"
            "import os; before = os.readlink('/proc/self/ns/net')\n"
            "if not leave_network(): sys.exit(3)\n"
            "assert os.readlink('/proc/self/ns/net') != before, 'still in the network of the machine'\n"
            "sys.exit(socket.socket().connect_ex(('127.0.0.1', int(sys.argv[1]))) == 0)"
        )
        words = [sys.executable, "-c", script, str(server.getsockname()[1])]
        done = subprocess.run(words, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    if done.returncode == 3:
        pytest.skip("this system lets no process leave the network")
    assert done.returncode == 0


def test_the_process_that_reads_has_limits_that_follow_from_the_size_of_the_file():
    script = (
        "import resource; from seesay.model import unpickle; unpickle.limit_resources(1000)\n"
        "names = ('AS', 'CPU', 'NOFILE', 'FSIZE', 'CORE')\n"
        "print(*(resource.getrlimit(getattr(resource, f'RLIMIT_{name}'))[0] for name in names))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], check=True, env=environment, capture_output=True, text=True)
    memory, seconds, files, written, core = map(int, done.stdout.split())
    # What the process itself had by then, and a gigabyte.
    assert (1 << 30) < memory < (3 << 30)
    assert 0 < seconds <= 300 and 0 < files <= 64 and written == 2 * 1000 + (1 << 30) and core == 0


def test_without_a_way_to_leave_the_network_nothing_is_read_unless_it_is_forced(tmp_path, monkeypatch):
    torch.save({"a": torch.ones(2)}, tmp_path / "a.bin")
    answered = []

    def answer(words, **_):
        answered.append(words[-1])
        return subprocess.CompletedProcess(words, 1, stdout=b'{"network": "it cannot be left"}')

    monkeypatch.setattr(subprocess, "run", answer)
    with pytest.raises(SeesayError, match="force"):
        convert_pickle(tmp_path / "a.bin", tmp_path / "a.safetensors")
    assert answered == [""] and not (tmp_path / "a.safetensors").exists()


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=["Python's", "safetensors'"],
)
def test_a_full_disk_under_the_process_is_a_storage_error_and_no_fault_of_the_file(
    error, tmp_path, capsys, monkeypatch
):
    torch.save({"a": torch.ones(2)}, tmp_path / "a.bin")
    answer_why(type(error), error, None)
    told = capsys.readouterr().out.encode()
    assert json.loads(told)["reason"] == "the disk is full"
    monkeypatch.setattr(subprocess, "run", lambda words, **_: subprocess.CompletedProcess(words, 1, stdout=told))
    with pytest.raises(StorageError, match=r"where .*a\.bin is read, is full; free some space"):
        convert_pickle(tmp_path / "a.bin", tmp_path / "a.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_the_next_conversion_removes_what_a_killed_one_left(tmp_path, monkeypatch):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    kept = [f".a.safetensors.tmp-{os.getppid()}-01234567", f".b.safetensors.tmp-{child.pid}-01234567"]
    for name in (f".a.safetensors.tmp-{child.pid}-01234567", *kept):
        (tmp_path / name).write_bytes(b"half")
    torch.save({"a": torch.ones(2)}, tmp_path / "a.bin")

    def read(words, **_):
        save_file({"a": torch.ones(2)}, words[-2])
        return subprocess.CompletedProcess(words, 0, stdout=b"")

    monkeypatch.setattr(subprocess, "run", read)
    convert_pickle(tmp_path / "a.bin", tmp_path / "a.safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {"a.bin", "a.safetensors", *kept}


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_only_linux_lets_a_process_leave_the_network(monkeypatch, system):
    monkeypatch.setattr(unpickle.sys, "platform", system)
    assert not unpickle.leave_network()


def test_what_a_system_does_not_limit_is_named(monkeypatch):
    set_to = {}
    resource = SimpleNamespace(
        **dict.fromkeys(("RLIMIT_CPU", "RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_CORE"), 0) | {"RLIMIT_CPU": 5},
        RLIM_INFINITY=-1,
        getrlimit=lambda _: (-1, -1),
        setrlimit=lambda what, values: set_to.update({what: values}),
    )
    monkeypatch.setitem(sys.modules, "resource", resource)
    monkeypatch.setattr(unpickle.sys, "platform", "darwin")
    assert unpickle.limit_resources(1000) == ["memory"] and set_to[5] == (300, 300)
    monkeypatch.setitem(sys.modules, "resource", None)
    assert unpickle.limit_resources(1000) == ["memory", "processor time", "files"]


def test_a_pickle_read_without_limits_is_said_to_be(tmp_path, monkeypatch, capsys):
    torch.save({"a": torch.ones(2)}, tmp_path / "a.bin")

    def answer(words, **_):
        save_file({"a": torch.ones(2)}, words[-2])
        return subprocess.CompletedProcess(words, 0, stdout=b'{"unlimited": "memory"}')

    monkeypatch.setattr(subprocess, "run", answer)
    convert_pickle(tmp_path / "a.bin", tmp_path / "a.safetensors", force=True)
    assert capsys.readouterr().err.endswith("was read in a process whose memory this system does not limit.\n")

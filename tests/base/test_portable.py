"""What `base/` does where a system lacks what Linux has: each is taken away, or put in place as the other has it."""

import ast
import os
import sys
from types import SimpleNamespace

import pytest
import torch
from source_trees import FILES, nodes_of, tree_of

from seesay.base import memory, publish, sync
from seesay.base.errors import UsageError
from seesay.base.memory import available_memory, peak_memory, whole_memory
from seesay.base.processes import is_alive, usable_cores
from seesay.base.publish import publish_file, publish_folder
from seesay.base.runtime import Runtime, is_faster_in_bfloat16


def test_without_an_affinity_all_cores_are_usable(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores() == 6 and Runtime.find("cpu").cores == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


@pytest.fixture
def psutil(monkeypatch):
    """The answers of psutil, which is installed where there is no /proc."""
    answers = SimpleNamespace(
        virtual_memory=lambda: SimpleNamespace(available=3 << 30, total=8 << 30),
        Process=lambda: SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=5 << 20)),
        pid_exists=lambda pid: pid == 7,
    )
    monkeypatch.setitem(sys.modules, "psutil", answers)
    return answers


def test_without_proc_psutil_says_what_memory_there_is(psutil, tmp_path):
    assert available_memory(tmp_path) == 3 << 30 and whole_memory(tmp_path) == 8 << 30


def test_the_peak_is_in_kilobytes_on_linux_in_bytes_on_macos_and_of_psutil_on_windows(psutil, monkeypatch):
    usage = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda _: SimpleNamespace(ru_maxrss=4096))
    monkeypatch.setitem(sys.modules, "resource", usage)
    monkeypatch.setattr(memory, "_text", lambda path: "")
    peaks = []
    for system in ("linux", "darwin", "win32"):
        monkeypatch.setattr(memory, "sys", SimpleNamespace(platform=system))
        peaks.append(peak_memory())
    assert peaks == [4 << 20, 4096, 5 << 20]


def test_looking_for_a_process_on_windows_sends_it_nothing(psutil, monkeypatch):
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("os.kill ends a process there"))
    monkeypatch.setattr("seesay.base.processes.sys", SimpleNamespace(platform="win32"))
    assert is_alive(7) and not is_alive(8)


def test_files_and_folders_are_published_without_syncing_folders(tmp_path, monkeypatch):
    for name in ("O_DIRECTORY", "O_CLOEXEC"):
        monkeypatch.delattr(os, name, raising=False)
    for data in (b"one\n", b"two\n"):
        publish_file(tmp_path / "new" / "a", data)
        publish_folder(tmp_path / "run", lambda folder, data=data: (folder / "b").write_bytes(data) and None)
    assert (tmp_path / "new" / "a").read_bytes() == (tmp_path / "run" / "b").read_bytes() == b"two\n"
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_what_is_written_and_synced_on_windows_is_opened_as_bytes_and_for_writing(tmp_path, monkeypatch):
    flags, real, binary = [], os.open, 1 << 28
    monkeypatch.setattr(os, "O_BINARY", binary, raising=False)
    monkeypatch.setattr(sync, "IS_WINDOWS", True)
    monkeypatch.delattr(os, "O_DIRECTORY", raising=False)

    def opened(path, flag, *rest):
        flags.append(flag)
        return real(path, flag & ~binary, *rest)

    monkeypatch.setattr(os, "open", opened)
    publish_file(tmp_path / "a", b"1\n")
    publish_folder(tmp_path / "run", lambda folder: (folder / "b").write_bytes(b"2\n") and None)
    assert flags == [os.O_WRONLY | os.O_CREAT | os.O_EXCL | binary, os.O_RDWR]


@pytest.mark.parametrize("refusals", [0, 2, 3])
def test_a_file_that_a_scanner_has_open_is_replaced_once_it_lets_go(tmp_path, monkeypatch, refusals):
    real, waited, left = os.replace, [], [PermissionError(13, "Permission denied")] * refusals
    publish_file(tmp_path / "a", b"old")

    def replace(source, target):
        if left:
            raise left.pop()
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(publish, "REPLACE_WAITS", (0.1, 0.2))
    monkeypatch.setattr(publish.time, "sleep", waited.append)
    if refusals == 3:
        with pytest.raises(publish.StorageError, match="or close what has it open"):
            publish_file(tmp_path / "a", b"new")
    else:
        publish_file(tmp_path / "a", b"new")
    assert waited == [0.1, 0.2][:refusals]
    assert (tmp_path / "a").read_bytes() == (b"old" if refusals == 3 else b"new")
    assert os.listdir(tmp_path) == ["a"]


@pytest.fixture
def machine(monkeypatch):
    """Say how many GPUs of each kind there are."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)

    def has(*, cuda: int = 0, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return has


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"), [(0, False, "cpu"), (0, True, "mps"), (2, True, "cuda"), (1, False, "cuda")]
)
def test_the_device_is_cuda_before_mps_before_cpu(machine, cuda, mps, chosen):
    machine(cuda=cuda, mps=mps)
    assert Runtime.find().device == chosen


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("cuda", r"device 'cuda' is not here; this machine has: mps, cpu\."),
        ("mps:1", r"device 'mps:1' is not here; this machine has 1 of mps\."),
        ("mps:x", r"device 'mps:x' is not known; use cpu, cuda or mps\."),
        ("metal", r"device 'metal' is not known; use cpu, cuda or mps\."),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_those_that_are(machine, asked, message):
    machine(mps=True)
    assert Runtime.find("mps").device == "mps" and Runtime.find("mps:0").device == "mps:0"
    with pytest.raises(UsageError, match=message):
        Runtime.find(asked)


def test_mps_is_refused_where_there_is_none_and_for_several_processes(machine, monkeypatch):
    machine()
    with pytest.raises(UsageError, match="device 'mps' is not here; this machine has: cpu"):
        Runtime.find("mps")
    machine(mps=True)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert Runtime.find().device == "cpu"
    with pytest.raises(UsageError, match="'mps' is not here for several processes; this machine has: cpu"):
        Runtime.find("mps")


def test_before_macos_14_bfloat16_is_not_tried(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda major, minor: (major, minor) < (14, 0))
    assert not is_faster_in_bfloat16("mps")


def test_every_text_file_is_opened_with_its_encoding_and_written_with_its_newline():
    """Both differ between systems, where they are left out."""

    def mode_of(call: ast.Call, name: str) -> str:
        position = 1 if isinstance(call.func, ast.Name) or name == "fdopen" else 0
        given = [word.value for word in call.keywords if word.arg == "mode"] or call.args[position : position + 1]
        return given[0].value if given and isinstance(given[0], ast.Constant) and given[0].value else "r"

    wrong = []
    for path in FILES:
        for call in (node for node in nodes_of(tree_of(path)) if isinstance(node, ast.Call)):
            name = getattr(call.func, "id", getattr(call.func, "attr", ""))
            owner = getattr(getattr(call.func, "value", None), "id", "")
            if name not in ("open", "fdopen", "read_text", "write_text", "NamedTemporaryFile"):
                continue
            # `os.open`, archives and videos open no text; `base/bounded.py` has a `read_text` of its own, in UTF-8.
            if owner in ("os", "archive", "copy", "tarfile", "Image", "av") and name == "open":
                continue
            if name == "read_text" and isinstance(call.func, ast.Name):
                continue
            mode = {"read_text": "r", "write_text": "w"}.get(name) or mode_of(call, name)
            # The first place of `read_text` is the encoding.
            has = {word.arg for word in call.keywords} | ({"encoding"} if name == "read_text" and call.args else set())
            needs = {"encoding"} | ({"newline"} if set(mode) & set("wax+") else set())
            if "b" not in mode and not needs <= has:
                wrong.append(f"{path.name}:{call.lineno} lacks {', '.join(sorted(needs - has))}")
    assert not wrong


def test_a_table_may_name_images_on_another_drive(tmp_path, monkeypatch, paint):
    from seesay.data.pairs import open_pairs

    image = paint(tmp_path / "other" / "cat.png", "red")
    (tmp_path / "table.csv").write_text(f"image,caption\n{image},a cat\n")

    def relpath(path, start):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", relpath)
    pairs = open_pairs([tmp_path / "table.csv"])
    assert pairs.captions(0) == ("a cat",) and pairs[0].image == image.read_bytes()

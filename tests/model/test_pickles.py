"""Pickles: known by content, run by nobody, and made safetensors files of when they are honest.

A payload makes an empty file, the canary, when it is run. That it would is shown once, in a process for that.
"""

import io
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import seesay
from seesay.base.errors import RefusedInput, SeesayError, UsageError
from seesay.model.pickles import convert_pickle, is_pickle, refuse_pickle
from seesay.model.weights import read_header, read_tensors

pytestmark = pytest.mark.journey  # most of these start a process that loads torch


class Call:
    """Pickles as a call of `name` with `arguments`; protocol 2 and later find the function by a name of any module."""

    def __init__(self, name, *arguments):
        self.name, self.arguments = name, arguments


def text(word):
    return b"V" + word.encode("raw_unicode_escape") + b"\n"


def program(call, protocol):
    """A pickle of `call`, put together by hand: pickle itself would resolve the name here and now."""
    return (b"\x80" + bytes([protocol]) if protocol >= 2 else b"") + instructions(call, protocol) + b"."


def instructions(value, protocol):
    if isinstance(value, Call):
        module, _, name = value.name.partition(":")
        found = f"c{module}\n{name}\n".encode()
        if protocol >= 4:
            found = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name)) + b"\x93"
        return found + b"(" + b"".join(instructions(part, protocol) for part in value.arguments) + b"tR"
    if isinstance(value, list):
        return b"(" + b"".join(instructions(part, protocol) for part in value) + b"l"
    if value is None:
        return b"N"
    return text(value) if isinstance(value, str) else f"I{value}\n".encode()


def payloads(canary):
    """Name -> bytes of fifty pickles that make `canary` when they are loaded."""
    shell, code = f"touch {canary}", f"open({canary!r}, 'w').close()"
    module = f"__import__('pathlib').Path({canary!r}).touch()"
    calls = {
        "os.system": Call("os:system", shell),
        "posix.system": Call("posix:system", shell),
        "subprocess.call": Call("subprocess:call", ["touch", canary]),
        "subprocess.run": Call("subprocess:run", ["touch", canary]),
        "subprocess.check_output": Call("subprocess:check_output", ["touch", canary]),
        "subprocess.getoutput": Call("subprocess:getoutput", shell),
        "subprocess.getstatusoutput": Call("subprocess:getstatusoutput", shell),
        "builtins.eval": Call("builtins:eval", module),
        "builtins.exec": Call("builtins:exec", code),
        "builtins.open": Call("builtins:open", canary, "w"),
        "io.open": Call("io:open", canary, "w"),
        "io.FileIO": Call("io:FileIO", canary, "w"),
        "codecs.open": Call("codecs:open", canary, "w"),
        "os.open": Call("os:open", canary, 65, 420),
        "os.mkdir": Call("os:mkdir", canary),
        "os.symlink": Call("os:symlink", "/etc/hostname", canary),
        "os.spawnlp": Call("os:spawnlp", 0, "touch", "touch", canary),
        "pty.spawn": Call("pty:spawn", ["touch", canary]),
        "timeit.timeit": Call("timeit:timeit", "pass", code),
        "cProfile.run": Call("cProfile:run", code, f"{canary}.profile"),
        "code.interact": Call("code:InteractiveInterpreter.runsource", Call("code:InteractiveInterpreter"), code),
        "importlib": Call("builtins:eval", f"__import__('importlib').import_module('os').system({shell!r})"),
        "shutil.copy": Call("shutil:copy", "/etc/hostname", canary),
        "sqlite3": Call("sqlite3:connect", canary),
        "logging": Call("logging:FileHandler", canary),
        "functools.partial": Call(
            "functools:reduce", Call("operator:attrgetter", "touch"), [Call("pathlib:Path", canary)]
        ),
        "numpy.save": Call("numpy:save", canary + ".npy", 1),
        "numpy.memmap": Call("numpy:memmap", canary, "uint8", "w+", 0, 1),
        "torch.save": Call("torch:save", 1, canary),
        "tempfile": Call("tempfile:mkdtemp", "", "canary", str(Path(canary).parent)),
    }
    chosen = {name: program(call, 4 if "." in call.name.partition(":")[2] else 2) for name, call in calls.items()}
    chosen["functools.partial"] = program(Call("pathlib:Path.touch", Call("pathlib:Path", canary)), 4)
    for protocol in range(6):
        chosen[f"os.system, protocol {protocol}"] = program(Call("os:system", shell), protocol)
        chosen[f"builtins.exec, protocol {protocol}"] = program(Call("builtins:exec", code), protocol)
    chosen["instance of a class"] = b"(" + text(shell) + b"ios\nsystem\n."
    chosen["object"] = b"(cos\nsystem\n" + text(shell) + b"o."
    chosen["called while a dict is filled"] = b"(dS'a'\n" + program(calls["os.system"], 0)[:-1] + b"s."
    chosen["called and thrown away"] = program(calls["os.system"], 0)[:-1] + b"0N."
    chosen["after an honest dict"] = pickle.dumps({"a": 1}, 2)[:-1] + b"0" + program(calls["os.system"], 0)
    chosen["names of Python 2"] = program(Call("__builtin__:eval", module), 2)
    chosen["in a frame"] = pickle.dumps(list(range(20)), 4)[:-1] + b"0" + program(calls["posix.system"], 4)[2:]
    memmap = instructions(calls["numpy.memmap"], 4)
    chosen["new object with keywords"] = b"\x80\x04" + memmap[:-1] + b"}\x92."
    return chosen


@pytest.fixture
def canary(tmp_path):
    (tmp_path / "coop").mkdir()
    return tmp_path / "coop" / "canary"


def is_silent(canary):
    return not any(canary.parent.iterdir())


def zipped(data, name="archive/data.pkl", **others):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, data)
        archive.writestr("archive/version", "3\n")
        for other, content in others.items():
            archive.writestr(f"archive/{other.replace('_', '.')}", content)
    return buffer.getvalue()


def tarred(data):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def beside_tensors(data):
    """The payload inside of a file that `torch.save` wrote, between honest tensors."""
    buffer = io.BytesIO()
    torch.save({"weight": torch.ones(2)}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(records)).partition("/")[0]
    records[f"{root}/data.pkl"] = data[:-1] + b"0" + records[f"{root}/data.pkl"][2:]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return out.getvalue()


WRAPPERS = {
    "bare": lambda data: data,
    "zip": zipped,
    "TorchScript": lambda data: zipped(data, constants_pkl=data),
    "tar": tarred,
    "beside tensors": beside_tensors,
}


def wrapped(canary):
    return [
        (f"{name} in {wrapper}", wrap(data))
        for name, data in payloads(str(canary)).items()
        for wrapper, wrap in WRAPPERS.items()
    ]


def test_the_payloads_are_fifty_and_every_one_makes_its_canary_when_it_is_run(tmp_path, canary):
    made = payloads(str(canary))
    assert len(made) == 50
    (tmp_path / "payloads").write_bytes(pickle.dumps(list(made.items())))
    runner = (
        "import pathlib, pickle, shutil, sys, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "place, coop = sys.argv[1:]\n"
        "for name, data in pickle.loads(pathlib.Path(place).read_bytes()):\n"
        "    try: pickle.loads(data)\n"
        "    except Exception as error: print('after', name, repr(error))\n"
        "    if not any(pathlib.Path(coop).iterdir()): sys.exit(f'{name} does nothing')\n"
        "    shutil.rmtree(coop); pathlib.Path(coop).mkdir()\n"
    )
    words = [sys.executable, "-c", runner, str(tmp_path / "payloads"), str(canary.parent)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_payload_in_every_wrapper_is_known_under_any_name_and_refused_by_every_reader(tmp_path, canary, folder):
    weights = folder / "model.safetensors"
    for ending in ("pt", "bin", "pth", "ckpt", "safetensors"):
        assert not is_pickle(weights), "an honest file is none"
        shutil.copy(weights, tmp_path / f"honest.{ending}")
        assert not is_pickle(tmp_path / f"honest.{ending}")
    for name, data in wrapped(canary):
        weights.write_bytes(data)
        assert is_pickle(weights), name
        with pytest.raises(RefusedInput, match="convert --from-pickle"):
            refuse_pickle(weights)
        with pytest.raises(RefusedInput):
            read_header(weights)
        with pytest.raises(RefusedInput):
            read_tensors(weights, {"weight": torch.ones(2)})
        for place in (folder, weights):
            with pytest.raises(SeesayError) as refused:
                seesay.load(place)
            assert refused.value.exit_code == 4, name
        assert is_silent(canary), name


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_converting_a_hostile_pickle_runs_nothing_and_writes_nothing(wrapper, tmp_path, canary):
    source, made = tmp_path / "hostile.pt", tmp_path / "made.safetensors"
    source.write_bytes(WRAPPERS[wrapper](payloads(str(canary))["posix.system"]))
    with pytest.raises(RefusedInput, match=r"hostile\.pt is not converted"):
        convert_pickle(source, made, force=True)
    assert is_silent(canary) and not made.exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_converting_any_hostile_pickle_in_any_wrapper_runs_nothing(tmp_path, canary):
    source, made = tmp_path / "hostile.pt", tmp_path / "made.safetensors"
    for name, data in wrapped(canary):
        source.write_bytes(data)
        with pytest.raises(RefusedInput, match="not converted"):
            convert_pickle(source, made, force=True)
        assert is_silent(canary) and not made.exists(), name


class Inner(torch.nn.Module):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.kernel = torch.nn.Parameter(torch.randn(3, 4, generator=generator).half())
        self.steps = [1, 2]
        self.register_buffer("count", torch.tensor(5))

    def forward(self, rows):
        return rows @ self.kernel.float() * self.steps[0]


class Outer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Inner()
        self.stack = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
        self.scale = torch.nn.Parameter(torch.tensor(2.5))

    def forward(self, rows):
        return self.stack(self.inner(rows)) * self.scale


def scripted(path):
    torch.jit.script(Outer()).save(str(path))


def traced(path):
    torch.jit.trace(Outer(), torch.ones(2, 3)).save(str(path))


def checkpoint(path):
    module = Outer()
    prefixed = {f"module._orig_mod.{name}": tensor for name, tensor in module.state_dict().items()}
    optimizer = torch.optim.AdamW(module.parameters())
    torch.save({"epoch": 3, "name": "run", "state_dict": prefixed, "optimizer": optimizer.state_dict()}, path)


def plain(path):
    torch.save(Outer().state_dict(), path)


def before_zip(path):
    torch.save(Outer().state_dict(), path, _use_new_zipfile_serialization=False)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("write", [plain, before_zip, checkpoint, scripted, traced])
def test_an_honest_pickle_becomes_a_safetensors_file_with_the_same_bits(write, tmp_path):
    torch.manual_seed(0)
    source, made = tmp_path / "honest.pt", tmp_path / "made.safetensors"
    write(source)
    torch.manual_seed(0)
    expected = Outer().state_dict()
    assert is_pickle(source)
    convert_pickle(source, made, force=True)
    found = load_file(made)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


def test_tensors_that_share_memory_are_written_each(tmp_path):
    whole = torch.arange(6.0).view(2, 3)
    torch.save({"whole": whole, "tied": whole, "turned": whole.T}, tmp_path / "a.bin")
    convert_pickle(tmp_path / "a.bin", tmp_path / "a.safetensors", force=True)
    found = load_file(tmp_path / "a.safetensors")
    assert torch.equal(found["tied"], whole) and torch.equal(found["turned"], whole.T.contiguous())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([torch.ones(2)], "holds a list and no tensors by name"),
        ({}, "no tensors by name"),
        ({"weight": torch.ones(2), "step": 3}, "'step' in it is a int"),
        ({"weight": torch.ones(2), "module.weight": torch.ones(2)}, "'weight' twice"),
        ({"weight": torch.ones(1).expand(1 << 40)}, "more than the file can hold"),
        ({"weight": torch.ones(2, device="meta")}, "no plain tensor"),
        ({"weight": Path("a")}, "PosixPath, which makes no tensor"),
    ],
)
def test_what_holds_no_plain_tensors_by_name_is_not_converted(content, told, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(RefusedInput, match=told):
        convert_pickle(tmp_path / "a.pt", tmp_path / "a.safetensors", force=True)
    assert not (tmp_path / "a.safetensors").exists()


def test_only_a_pickle_is_converted_and_only_to_safetensors(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "a.bin")
    with pytest.raises(RefusedInput, match="no Python pickle"):
        convert_pickle(tmp_path / "a.bin", tmp_path / "b.safetensors")
    with pytest.raises(UsageError, match="no file"):
        convert_pickle(tmp_path / "none.bin", tmp_path / "b.safetensors")
    with pytest.raises(UsageError, match="does not end in"):
        convert_pickle(tmp_path / "a.bin", tmp_path / "b.pt")
    with pytest.raises(UsageError, match=r"b\.safetensors exists; name a new file"):
        (tmp_path / "b.safetensors").write_text("mine")
        convert_pickle(tmp_path / "a.bin", tmp_path / "b.safetensors")
    assert (tmp_path / "b.safetensors").read_text() == "mine"


def test_a_safetensors_file_whose_length_reads_as_a_pickle_is_none(tmp_path):
    # The length of the header, 0x280 or 0x480, is written as the two bytes that begin a pickle.
    for length in (0x280, 0x380, 0x480):
        header = b"{" + b" " * (length - 2) + b"}"
        (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", length) + header)
        assert not is_pickle(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"(",
        b"PK\3\4",
        b"{}",
        b"hello world.",
        b"(It's) a caption\n",
        b"cats, two of\nthem\n",
        b"\xff\xd8" * 99,
    ],
)
def test_other_files_are_no_pickles(data, tmp_path):
    (tmp_path / "a").write_bytes(data)
    assert not is_pickle(tmp_path / "a")

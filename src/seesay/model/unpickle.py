"""The process that reads a pickle: `python -m seesay.model.unpickle SOURCE DESTINATION [force]`.

The one file that calls `torch.load`, always with `weights_only=True`: torch's reader then follows instructions that
make numbers, strings, lists and tensors, and refuses every other name. Before that, this process gives up the network
and most of its memory, processor time and files, for the case that the reader itself has a fault. It answers with a
line of JSON and a safetensors file, and nothing in seesay imports it. What a system does not let it give up it says:
only Linux has namespaces and the memory limit, and Windows none of it.
"""

import ctypes
import json
import pickletools
import re
import shutil
import socket
import sys
import warnings
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

# Flags of unshare(2), from linux/sched.h.
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
# Bounds that no published model comes near; all four are a guess.
CPU_SECONDS = 300
OPEN_FILES = 64
SPARE_MEMORY = 1 << 30
PROGRAM_LIMIT = 64 << 20
# As Python and safetensors put it.
DISK_FULL = re.compile(r"\[Errno 28\]|\(os error 28\)")
PREFIXES = ("module.", "_orig_mod.")


class Refused(Exception):
    """Why a file is not converted, as the end of a sentence."""


class Scripted:
    """Stands for every class of a TorchScript archive: it has the attributes and no code."""

    attributes: dict[str, Any] | None = None

    def __setstate__(self, state: object) -> None:
        self.attributes = state if isinstance(state, dict) else None


def main() -> int:
    """Convert what the command line names; the exit code."""
    sys.excepthook = answer_why
    source, destination, force = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "force"
    if not leave_network() and not force:
        print(json.dumps({"network": "it cannot be left"}))
        return 1
    print(json.dumps({"unlimited": ", ".join(convert(source, destination))}))
    return 0


def answer_why(kind: type[BaseException], error: BaseException, _: object) -> None:
    """Whatever goes wrong in a process that has no other task is its answer."""
    message = (str(error).strip().splitlines() or [kind.__name__])[0]
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    if isinstance(error, Refused):
        reason = message
    elif found:
        reason = f"it wants to use {found[1]:.80}, which makes no tensor; it may be hostile"
    elif DISK_FULL.search(str(error)):
        reason = "the disk is full"
    elif isinstance(error, MemoryError) or "allocate" in message:
        reason = "it needs more memory than its size can explain"
    else:
        reason = f"it cannot be read without running code ({message:.200})"
    print(json.dumps({"reason": reason}))


def leave_network() -> bool:
    """Move to a network namespace of our own, in which there is not even a loopback that works."""
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    # An ordinary user may only do so inside a user namespace, root where that is switched off only without.
    if any(library.unshare(flags) == 0 for flags in (CLONE_NEWNET, CLONE_NEWUSER | CLONE_NEWNET)):
        return [name for _, name in socket.if_nameindex()] in ([], ["lo"])
    return False


def convert(source: Path, destination: Path) -> list[str]:
    """The tensors of a pickle as a safetensors file; `Refused` for more than they can be.

    Returns what could not be limited.
    """
    import torch
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    unlimited = limit_resources(source.stat().st_size)
    # The reader warns of protocols and of scripted archives; the answer is what counts.
    warnings.simplefilter("ignore")
    tensors = named_tensors(read(source))
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if claimed > 2 * source.stat().st_size:
        raise Refused(f"its tensors would be {claimed:,} bytes, more than the file can hold")
    # Copies: tensors of a pickle may share memory, those of a safetensors file may not.
    save_file({name: tensors[name].detach().clone().contiguous() for name in sorted(tensors)}, destination)
    return unlimited


def limit_resources(size: int) -> list[str]:
    """Bounds for memory, processor time, open files and what may be written, from the size of the file.

    Returns what this system does not limit.
    """
    try:
        resource = import_module("resource")
    except ImportError:
        return ["memory", "processor time", "files"]
    bounds = {
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_FSIZE: 2 * size + SPARE_MEMORY,
        resource.RLIMIT_CORE: 0,
    }
    # Elsewhere what is there already cannot be read, or the limit is taken and not kept.
    if is_linux := sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        bounds[resource.RLIMIT_AS] = pages * resource.getpagesize() + 4 * size + SPARE_MEMORY
    for what, most in bounds.items():
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))
    return [] if is_linux else ["memory"]


def read(source: Path) -> object:
    """What `weights_only` gives; of a TorchScript archive too, with `Scripted` in place of its classes."""
    import torch

    if not zipfile.is_zipfile(source):
        return torch.load(source, map_location="cpu", weights_only=True)
    with zipfile.ZipFile(source) as archive:
        records = {name.partition("/")[2]: name for name in archive.namelist()}
        if "constants.pkl" not in records:
            return torch.load(source, map_location="cpu", weights_only=True)
        names = scripted_names(archive, records)
        bare = without_code(archive, records)
    aliases: list[Any] = [(first_of if name.startswith("torch.jit._pickle.") else Scripted, name) for name in names]
    with torch.serialization.safe_globals(aliases):
        return torch.load(bare, map_location="cpu", weights_only=True)


def scripted_names(archive: zipfile.ZipFile, records: dict[str, str]) -> list[str]:
    """The names in the archive's program that TorchScript made up: its classes, and what tags lists and dicts."""
    if "data.pkl" not in records or archive.getinfo(records["data.pkl"]).file_size > PROGRAM_LIMIT:
        raise Refused("it is a TorchScript archive without a data.pkl of a sensible size")
    program = archive.read(records["data.pkl"])
    used = {
        str(argument).replace(" ", ".", 1) for kind, argument, _ in pickletools.genops(program) if kind.name == "GLOBAL"
    }
    return sorted(name for name in used if name.startswith(("__torch__.", "torch.jit._pickle.")))


def without_code(archive: zipfile.ZipFile, records: dict[str, str]) -> Path:
    """A copy of a TorchScript archive with its tensors and their program only, as `torch.save` writes it."""
    bare = Path("bare.pt").resolve()
    with zipfile.ZipFile(bare, "w") as copy:
        for record, name in records.items():
            if record in ("data.pkl", "version", "byteorder") or record.startswith("data/"):
                with archive.open(name) as data, copy.open(f"bare/{record}", "w", force_zip64=True) as room:
                    shutil.copyfileobj(data, room, 1 << 20)
    return bare


def first_of(value: object, *_: object) -> object:
    """Stands for the functions by which TorchScript tags a list or a dict with its type."""
    return value


def named_tensors(found: object) -> dict[str, Any]:
    """Name -> tensor of what was read: a dict of tensors, a checkpoint that holds one, or a scripted module."""
    if isinstance(found, Scripted):
        named = dict(attributes_of(found))
    else:
        named = found.get("state_dict", found) if isinstance(found, dict) else None
    if not isinstance(named, dict) or not named:
        raise Refused(f"it holds a {type(found).__name__} and no tensors by name")
    tensors = {}
    for name, tensor in named.items():
        if not isinstance(name, str) or not is_plain_tensor(tensor):
            raise Refused(f"{str(name)[:80]!r} in it is a {type(tensor).__name__} and no plain tensor")
        while (bare := name.removeprefix(PREFIXES[0]).removeprefix(PREFIXES[1])) != name:
            name = bare
        if name in tensors:
            raise Refused(f"it holds {name[:80]!r} twice, with and without a prefix")
        tensors[name] = tensor
    return tensors


def attributes_of(whole: Scripted) -> Iterator[tuple[str, Any]]:
    """The tensors of a scripted module and of the modules in it; numbers and flags are left."""
    waiting = [("", whole)]
    seen: set[int] = set()
    while waiting:
        prefix, module = waiting.pop()
        if id(module) in seen:
            raise Refused("a module in it holds itself or is held twice")
        seen.add(id(module))
        for name, value in (module.attributes or {}).items():
            if isinstance(value, Scripted):
                waiting.append((f"{prefix}{name}.", value))
            elif is_plain_tensor(value):
                yield f"{prefix}{name}", value


def is_plain_tensor(value: object) -> bool:
    """Whether it is a dense tensor on the CPU."""
    import torch

    return isinstance(value, torch.Tensor) and value.layout == torch.strided and value.device.type == "cpu"


if __name__ == "__main__":
    sys.exit(main())

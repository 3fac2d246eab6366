"""Python pickles: recognised by content, refused, and made safetensors files of in a process that can do little.

A pickle is a program: reading one the usual way runs it. Nothing here does. `is_pickle` looks at bytes, and
`convert_pickle` leaves the reading to `unpickle.py`, in a process of its own without network and with little memory.
"""

import json
import os
import pickletools
import re
import struct
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from seesay.base.errors import RefusedInput, SeesayError, StorageError, UsageError
from seesay.base.publish import publish_file, refuse_unwritable_file, remove_stale
from seesay.base.streams import say

# A guess.
READ_SECONDS = 600
# Names under which pickles of weights lie.
ENDINGS = (".bin", ".pt", ".pth", ".ckpt")
# Bytes at either end that are looked at: a guess; the list of a zip's files is at its end.
HEAD, TAIL = 64 << 10, 1 << 20
# A guess: an answer is a line.
ANSWER_LIMIT = 4096
# What `unpickle.py` answers then.
DISK_FULL = "the disk is full"
# Files of the archives in which PyTorch puts pickles: zip (also TorchScript), and tar before 2018.
TAR_MEMBERS = {b"sys_info", b"pickle", b"storages", b"tensors"}


def is_pickle(path: Path) -> bool:
    """Whether a file holds a pickle of any protocol, bare or in an archive as PyTorch writes them, whatever its name.

    `StorageError` where the file cannot be read. This is for a helpful message: what is no safetensors file is never
    read as weights, found out here or not.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - TAIL))
            tail = file.read(TAIL)
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}); allow it or fix the disk.") from error
    # The length of a header may read as the two bytes of a pickle, but a pickle never goes on with zeros and a brace.
    if _is_safetensors(head, size):
        return False
    if head[:2] == b"PK" or b"PK\5\6" in tail:
        return b".pkl" in head or b".pkl" in tail
    if head[257:262] == b"ustar":
        name = head[:100].rstrip(b"\0").removeprefix(b"./").rstrip(b"/")
        return name in TAR_MEMBERS or name.endswith(b".pkl") or _is_bare_pickle(head[512:])
    return _is_bare_pickle(head)


def refuse_pickle(path: Path) -> None:
    """`RefusedInput`, with the command that converts it, if `path` is a pickle."""
    if is_pickle(path):
        raise RefusedInput(
            f"{path} is a Python pickle, which can run code; make weights of it with "
            f"`seesay convert --from-pickle {path} NEW.safetensors`."
        )


def convert_pickle(source: Path, destination: Path, *, force: bool = False) -> None:
    """Write the tensors in the pickle `source` to the safetensors file `destination`, bit for bit; no code is run.

    Read are what `torch.load(weights_only=True)` allows, and the attributes of a TorchScript archive. Of a training
    checkpoint its `state_dict` is taken; `module.` and `_orig_mod.` before all names go. `RefusedInput` for anything
    else in it, and where the system does not let a process be cut from the network, unless `force` allows reading it
    with the network. `UsageError` if there is a `destination` already.
    """
    if not source.is_file():
        raise UsageError(f"{source} is no file; name the .pt or .bin to convert.")
    if destination.suffix != ".safetensors":
        raise UsageError(f"{destination} does not end in .safetensors; give the new file a name that does.")
    if destination.exists():
        raise UsageError(f"{destination} exists; name a new file.")
    refuse_unwritable_file(destination, "DST")
    if not is_pickle(source):
        raise RefusedInput(f"{source} is no Python pickle; convert it without --from-pickle.")
    with tempfile.TemporaryDirectory(prefix="seesay-unpickle-") as folder:
        written = Path(folder) / "tensors.safetensors"
        _read_apart(source.resolve(), written, force=force)
        publish_file(destination, written.read_bytes())
    # What an earlier conversion left that was killed while it wrote; this one is done, whether that can go or not.
    with suppress(StorageError, OSError):
        remove_stale(destination.parent, name=destination.name)


def _is_safetensors(head: bytes, size: int) -> bool:
    return head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= size - 8


def _is_bare_pickle(head: bytes) -> bool:
    """Protocol 2 and later say so. Before that, it begins with a list, dict, tuple or name, and goes on to use it."""
    if head[:1] == b"\x80":
        return len(head) > 1 and head[1] <= 5
    if head[:1] not in (b"(", b"c", b"]", b"}", b")"):
        return False
    seen = set()
    try:
        for instruction, argument, _ in pickletools.genops(head):
            if instruction.name in ("GLOBAL", "INST") and not _NAME.fullmatch(str(argument)):
                return False
            seen.add(instruction.name)
    except ValueError:
        pass  # the head of a long one ends anywhere
    return not seen.isdisjoint(_USES)


_NAME = re.compile(r"[\w.]+ [\w.]+")
_USES = {"GLOBAL", "INST", "OBJ", "REDUCE", "SETITEM", "SETITEMS", "APPEND", "APPENDS"}


def _read_apart(source: Path, written: Path, *, force: bool) -> None:
    """Run `unpickle.py`; its answer is a line of JSON that is itself not trusted."""
    # Nothing of our surroundings goes with it: no tokens, no proxies, no switches of torch.
    surroundings = {
        # Windows opens no socket and draws no random number without it.
        **{name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ},
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "HOME": str(written.parent),
    }
    words = [sys.executable, "-P", "-m", "seesay.model.unpickle", str(source), str(written), "force" if force else ""]
    try:
        done = subprocess.run(  # noqa: S603
            words,
            env=surroundings,
            cwd=written.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=READ_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RefusedInput(f"{source} was not read within {READ_SECONDS} s; it is not converted.") from error
    answer = _answer(done.stdout[:ANSWER_LIMIT])
    if answer.get("network"):
        raise SeesayError(
            f"{source} is not read: this system does not let a process be cut from the network. Convert it elsewhere, "
            "or add --force to read it, with code still not run, in a process that could reach the network."
        )
    if answer.get("reason") == DISK_FULL:
        raise StorageError(
            f"{tempfile.gettempdir()}, where {source} is read, is full; free some space, or set TMPDIR to a folder."
        )
    if done.returncode != 0 or not written.is_file():
        reason = answer.get("reason") or f"the process that read it ended with {done.returncode}"
        raise RefusedInput(f"{source} is not converted: {reason}.")
    if answer.get("unlimited"):
        say(f"warning: {source} was read in a process whose {answer['unlimited']} this system does not limit.")


def _answer(output: bytes) -> dict[str, str]:
    try:
        answer = json.loads(output)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(answer, dict):
        return {}
    return {str(key): "".join(letter for letter in str(value) if letter.isprintable()) for key, value in answer.items()}

"""Where the program runs: found once, passed on as one value."""

import os
import platform
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from seesay.base.errors import UsageError
from seesay.base.processes import usable_cores
from seesay.base.version import __version__


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """The device, the cores that feed it, and which of the run's processes this is.

    `rank` of `world_size` in all; `local_rank` of `local_world_size` on this machine, which share its cores.
    """

    device: str
    cores: int
    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @classmethod
    def find(cls, device: str | None = None) -> "Runtime":
        """The device asked for, or the best there is; `UsageError` if it is not there.

        The rest is what `torchrun` tells each process it starts; without it there is one process.
        """
        world_size = _number("WORLD_SIZE", 1) if "RANK" in os.environ else 1
        local_world_size = _number("LOCAL_WORLD_SIZE", 1) if world_size > 1 else 1
        return cls(
            device=_device(device, world_size),
            cores=max(1, usable_cores() // local_world_size),
            rank=_number("RANK", 0) if world_size > 1 else 0,
            world_size=world_size,
            local_rank=_number("LOCAL_RANK", 0) if world_size > 1 else 0,
            local_world_size=local_world_size,
        )


def _device(asked: str | None, world_size: int) -> str:
    """The device asked for, or the first of those that are here; `UsageError` if it is not there."""
    import torch

    count_of = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        # Nothing sends tensors from one process to another there.
        "mps": int(torch.backends.mps.is_available() and world_size == 1),
        "cpu": 1,
    }
    here = [kind for kind, count in count_of.items() if count]
    if asked is None:
        return here[0]
    kind, _, index = asked.partition(":")
    is_index = index.isascii() and index.isdecimal() and len(index) <= 3
    if kind not in count_of or (index and not is_index):
        raise UsageError(f"device {asked!r} is not known; use cpu, cuda or mps.")
    if kind not in here:
        reason = " for several processes" if kind == "mps" and world_size > 1 else ""
        raise UsageError(f"device {asked!r} is not here{reason}; this machine has: {', '.join(here)}.")
    if kind != "cpu" and int(index or 0) >= count_of[kind]:
        raise UsageError(f"device {asked!r} is not here; this machine has {count_of[kind]} of {kind}.")
    return asked


def is_faster_in_bfloat16(device: str) -> bool:
    """Whether a product of matrices takes less than two thirds of its time in bfloat16, here and now.

    Measured, because a processor without units for it takes the type and is several times slower.
    """
    import torch

    # Apple's GPUs have the type since macOS 14.
    if device.startswith("mps") and not torch.backends.mps.is_macos_or_newer(14, 0):
        return False
    side = 512 if device == "cpu" else 4096
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(side, side, dtype=dtype, device=device)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            # Reading a number waits for the device.
            float((matrix @ matrix)[0, 0])
            times.append(time.perf_counter() - start)
        seconds[dtype] = min(times)
    return seconds[torch.bfloat16] < seconds[torch.float32] * 2 / 3


def _number(name: str, default: int) -> int:
    """A number that `torchrun` put into the environment."""
    value = os.environ.get(name, str(default))
    if not value.isdigit():
        raise UsageError(f"{name} is {value!r} in the environment, but it should be a number; let torchrun set it.")
    return int(value)


def machine_facts(runtime: Runtime) -> dict[str, object]:
    """What a result should be quoted with: versions, machine, commit of a source checkout."""
    import torch

    return {
        **asdict(runtime),
        "seesay": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "processor": _processor(),
    }


def _commit() -> str | None:
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")

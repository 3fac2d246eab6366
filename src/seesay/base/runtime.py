"""Where the program runs: found once, passed on as one value."""

import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from seesay.base.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """The device, and the cores that feed it."""

    device: str
    cores: int

    @classmethod
    def find(cls, device: str | None = None) -> "Runtime":
        """The device asked for, or the best there is; `UsageError` if it is not there."""
        import torch

        has_cuda = torch.cuda.is_available()
        if device is None:
            device = "cuda" if has_cuda else "cpu"
        if device.startswith("cuda") and not has_cuda:
            raise UsageError(f"device {device!r} is not here; this machine has: cpu.")
        kind, _, index = device.partition(":")
        if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
            raise UsageError(f"device {device!r} is not known; use cpu or cuda.")
        if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
            raise UsageError(f"device {device!r} is not here; this machine has {torch.cuda.device_count()} of cuda.")
        return cls(device=device, cores=len(os.sched_getaffinity(0)))


def machine_facts(runtime: Runtime) -> dict[str, object]:
    """What a result should be quoted with: versions, machine, commit of a source checkout."""
    import torch

    import seesay

    return {
        **asdict(runtime),
        "seesay": seesay.__version__,
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

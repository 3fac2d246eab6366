"""A run's state on disk: saved whole or not at all, never unpickled, read back before an older one goes.

A checkpoint folder holds `model.safetensors`, `optimizer.safetensors` and `state.json` with the position of the
run, the SHA-256 of both, and one of `state.json` itself. The folder's name ends in the number of steps done. Several
processes save and restore together: each brings the parts it holds, and one touches the disk.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from seesay.base.bounded import read_json
from seesay.base.errors import RefusedInput
from seesay.base.publish import publish_folder, refuse_unwritable, remove_stale
from seesay.base.version import __version__
from seesay.model.weights import read_tensors, write_tensors
from seesay.nets.clip import Clip
from seesay.training.sharding import full_tensors, like

# The one that this version writes; it has been the same since the first.
FORMAT = 1
CHECKPOINTS = "checkpoints"
MODEL_NAME = "model.safetensors"
OPTIMIZER_NAME = "optimizer.safetensors"
STATE_NAME = "state.json"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass
class Position:
    """How far a run is: steps done, pairs seen, seconds spent, and the smoothed loss."""

    step: int = 0
    pairs_seen: int = 0
    seconds: float = 0.0
    smooth_loss: float | None = None


class OtherFormat(RefusedInput):
    """A checkpoint of another seesay; going back to an older one would lose what it holds."""


def save_checkpoint(
    root: Path,
    clip: Clip,
    optimizer: torch.optim.Optimizer,
    position: Position,
    *,
    keep: int,
    is_writer: bool = True,
) -> Path:
    """Publish a checkpoint below `root`, read it back, then remove all but the last `keep`.

    `StorageError` where it does not fit, before anything is written. A process that is not the writer only adds what it
    holds of sharded tensors.
    """
    folder = root / f"step-{position.step:010}"
    weights, moments = full_tensors(clip.state_dict()), full_tensors(optimizer_tensors(clip, optimizer))
    if not is_writer:
        return folder
    files = {MODEL_NAME: write_tensors(weights), OPTIMIZER_NAME: write_tensors(moments)}
    state = {
        "format": FORMAT,
        "written_by": _versions(),
        "position": asdict(position),
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    state["own_sha256"] = _own_sha256(state)
    files[STATE_NAME] = (json.dumps(state, indent=1) + "\n").encode()

    def write(temporary: Path) -> None:
        for name, data in files.items():
            (temporary / name).write_bytes(data)

    refuse_unwritable(folder, needed=sum(map(len, files.values())))
    publish_folder(folder, write)
    _read_state(folder)
    # Later ones are those that `restore_latest` passed over; they must not push out what is whole.
    for older in [path for path in checkpoints(root) if path.name < folder.name][keep - 1 :]:
        shutil.rmtree(older)
    return folder


def restore_latest(root: Path, clip: Clip, optimizer: torch.optim.Optimizer) -> tuple[Position, list[str]]:
    """Bring the newest whole checkpoint into `clip` and `optimizer`.

    Returns where the run stands (the start, if there is no checkpoint), and what was wrong with others.
    Raises `RefusedInput` if there are checkpoints and none is whole, as beginning anew would lose the run unasked, and
    if the newest was written in another format.
    """
    stale = remove_stale(root) if root.is_dir() else []
    faults = [f"{path} was being written when the run ended, and is removed." for path in stale]
    for folder in checkpoints(root):
        try:
            state = _read_state(folder)
            expected = optimizer_tensors(clip, optimizer)
            weights = read_tensors(folder / MODEL_NAME, clip.state_dict())
            # Older versions wrote zeros for what is not trained.
            untrained = {f"{name}.{moment}" for name in _untrained(clip) for moment in MOMENTS}
            moments = read_tensors(folder / OPTIMIZER_NAME, expected, ignored=untrained)
        except OtherFormat:
            raise
        except RefusedInput as error:
            faults.append(str(error))
            continue
        if state["written_by"] != _versions():
            faults.append(
                f"{folder} was written by {state['written_by']}, this is {_versions()}: last bits may differ."
            )
        clip.load_state_dict(weights)
        load_moments(clip, optimizer, moments)
        return Position(**state["position"]), faults
    if checkpoints(root):
        raise RefusedInput(f"no checkpoint in {root} can be used ({faults[0]}); remove {root} to begin anew.")
    return Position(), faults


def checkpoints(root: Path) -> list[Path]:
    """Checkpoint folders below `root`, newest first."""
    return sorted(root.glob("step-*"), reverse=True)


def optimizer_tensors(clip: Clip, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's step and moments by the name of each parameter that is trained.

    Zeros where no step was made yet, and for a second moment that Muon does not have.
    """
    tensors = {}
    for name, parameter in _trained(clip):
        state = optimizer.state.get(parameter, {})
        tensors[f"{name}.step"] = state.get("step", torch.tensor(0.0))
        for moment in MOMENTS[1:]:
            tensors[f"{name}.{moment}"] = state.get(moment, torch.zeros_like(parameter))
    return tensors


def load_moments(clip: Clip, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give `optimizer` what `optimizer_tensors` gave, whole; each process keeps the parts it holds of a parameter."""
    for name, parameter in _trained(clip):
        moments = {moment: tensors[f"{name}.{moment}"].to(parameter.device) for moment in MOMENTS}
        optimizer.state[parameter] = {
            key: like(parameter, value.to(memory_format=_layout(parameter)) if value.ndim == 4 else value)
            for key, value in moments.items()
        }


def _trained(clip: Clip) -> list[tuple[str, Tensor]]:
    return [(name, parameter) for name, parameter in clip.named_parameters() if parameter.requires_grad]


def _untrained(clip: Clip) -> list[str]:
    return [name for name, parameter in clip.named_parameters() if not parameter.requires_grad]


def _layout(parameter: Tensor) -> torch.memory_format:
    is_last = parameter.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_last else torch.contiguous_format


def _read_state(folder: Path) -> dict:
    """The position in a checkpoint whose files are what was saved; `RefusedInput` otherwise."""
    path = folder / STATE_NAME
    try:
        state = read_json(path)
        if state["own_sha256"] != _own_sha256(state):
            raise RefusedInput(f"{path} was changed since it was saved; an older checkpoint is used.")
        if state["format"] != FORMAT:
            raise OtherFormat(
                f"{folder} has format {state['format']}, and this seesay reads {FORMAT}; take the seesay it was "
                "written with, or remove it to go on from the one before."
            )
        if missing := sorted({field.name for field in fields(Position)} - state["position"].keys()):
            raise RefusedInput(f"{path} has no {', '.join(missing)}; an older checkpoint is used.")
        for name in (MODEL_NAME, OPTIMIZER_NAME):
            if _sha256(folder / name) != state["sha256"][name]:
                raise RefusedInput(f"{folder / name} was changed since it was saved; an older checkpoint is used.")
        Position(**state["position"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RefusedInput(f"{folder} is not a whole checkpoint ({error}); an older one is used.") from error
    return state


def _versions() -> str:
    return f"seesay {__version__} with torch {torch.__version__}"


def _own_sha256(state: dict) -> str:
    rest = {key: value for key, value in state.items() if key != "own_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

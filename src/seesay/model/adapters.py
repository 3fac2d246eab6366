"""Low-rank updates in files: small ones that are added to a model, in PEFT's format where Hugging Face has its towers.

`adapter_model.safetensors` holds two matrices for each that is updated, and `adapter_config.json` the rest. PEFT's
format is read by `peft` on transformers' CLIPModel; seesay's own has any tower.

R = rows of a part of a matrix, C = its columns, K = rank.
"""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.utils import parametrize

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.publish import publish_folder
from seesay.model.bundle import Model
from seesay.model.engines import refuse_altered
from seesay.model.layouts.config_file import checked_as, read_json
from seesay.model.layouts.hf_clip import refuse_other_towers
from seesay.model.layouts.hf_clip_tensors import links
from seesay.model.weights import read_names, read_tensors, write_tensors
from seesay.nets.adapters import LowRank, matrices
from seesay.nets.architecture import Architecture
from seesay.nets.clip import DualEncoder, empty_clip

WEIGHTS_NAME, CONFIG_NAME = "adapter_model.safetensors", "adapter_config.json"
Layout = Literal["seesay", "peft"]
# What PEFT puts in front of every name.
WRAPPER = "base_model.model."
# A guess: nobody's adapter counts more.
MOST_ALPHA = 1e6


class _Config(BaseModel):
    """What is read of adapter_config.json; what else makes PEFT compute otherwise is refused."""

    model_config = ConfigDict(strict=True, extra="ignore")

    peft_type: Literal["LORA"] = "LORA"
    r: Annotated[int, Field(ge=1, le=4096)]
    lora_alpha: Annotated[float, Field(gt=0, le=MOST_ALPHA)]
    # Those of other starts take something away from the weights themselves.
    init_lora_weights: Literal[True, False, "gaussian", "eva", "orthogonal"] = True
    use_dora: Literal[False] = False
    use_rslora: Literal[False] = False
    rank_pattern: Annotated[dict[str, int], Field(max_length=0)] = {}
    alpha_pattern: Annotated[dict[str, float], Field(max_length=0)] = {}
    bias: Literal["none"] = "none"
    modules_to_save: None = None
    alora_invocation_tokens: None = None
    layer_replication: None = None
    arrow_config: None = None
    kasa_config: None = None
    use_qalora: Literal[False] = False
    use_bdlora: Literal[None, False] = None


@dataclass(frozen=True, kw_only=True)
class Update:
    """scale * up @ down, (R, C), on part `part` of the rows of the weight at `path`."""

    path: str
    part: int
    up_RK: Tensor
    down_KC: Tensor
    scale: float

    @property
    def rank(self) -> int:
        """K."""
        return self.up_RK.shape[1]


def updates_of(module: nn.Module) -> list[Update]:
    """What the low-rank updates in a module have learned."""
    return list(_updates(module))


def _updates(module: nn.Module) -> Iterator[Update]:
    for path, part in module.named_modules():
        if not parametrize.is_parametrized(part):
            continue
        for name, chain in part.parametrizations.items():  # type: ignore[union-attr]
            for update in chain:
                if isinstance(update, LowRank):
                    parts = [index for index, is_updated in enumerate(update.parts) if is_updated]
                    for number, index in enumerate(parts):
                        up, down = update.up[number].detach().cpu(), update.down[number].detach().cpu()
                        where = f"{path}.{name}"
                        yield Update(path=where, part=index, up_RK=up, down_KC=down, scale=update.scale)


def adapter_files(
    updates: Sequence[Update], architecture: Architecture, *, base: str, layout: Layout, share: float = 1.0
) -> dict[str, bytes]:
    """The two files of an adapter whose updates count by `share`; `UsageError` for towers that PEFT does not have."""
    rank, scale = updates[0].rank, updates[0].scale
    tensors: dict[str, Tensor] = {}
    modules: list[str] = []
    theirs = _their_modules(architecture) if layout == "peft" else {}
    for update in updates:
        up_RK = share * update.up_RK
        if layout == "seesay":
            tensors |= {f"{update.path}.{update.part}.up": up_RK, f"{update.path}.{update.part}.down": update.down_KC}
            continue
        module, is_transposed = theirs[update.path, update.part]
        lower, upper = (up_RK.T, update.down_KC.T) if is_transposed else (update.down_KC, up_RK)
        tensors |= {f"{WRAPPER}{module}.lora_A.weight": lower, f"{WRAPPER}{module}.lora_B.weight": upper}
        modules.append(module)
    config: dict[str, Any] = {"peft_type": "LORA", "r": rank, "lora_alpha": scale * rank, "bias": "none"}
    config |= {"base_model_name_or_path": base, "inference_mode": True, "task_type": None, "lora_dropout": 0.0}
    config |= {"target_modules": modules} if layout == "peft" else {"layout": "seesay"}
    return {WEIGHTS_NAME: write_tensors(tensors), CONFIG_NAME: (json.dumps(config, indent=2) + "\n").encode()}


def write_adapter(folder: Path, files: Mapping[str, bytes]) -> None:
    """Publish the files of an adapter, in place of what was there."""

    def write(temporary: Path) -> None:
        for name, data in files.items():
            (temporary / name).write_bytes(data)

    publish_folder(folder, write)


def has_peft_layout(architecture: Architecture) -> bool:
    """Whether transformers' CLIPModel has such towers."""
    try:
        refuse_other_towers(architecture)
    except UsageError:
        return False
    return True


def _their_modules(architecture: Architecture) -> dict[tuple[str, int], tuple[str, bool]]:
    """(our path, part) -> their module, and whether its matrix is ours turned over."""
    refuse_other_towers(architecture)
    return {
        (link.ours, part): (name.removesuffix(".weight"), link.transposed)
        for link in links(architecture)
        for part, name in enumerate(link.theirs)
        if name.endswith(".weight")
    }


def with_adapter(model: Model, folder: str | Path) -> Model:
    """The model with the adapter of a folder, of either layout, added to its weights; `model` itself stays as it is.

    What was measured of `model`, its facts, is not known of the other.
    `RefusedInput` for an adapter that is damaged, of another kind, or does not fit the model, `UsageError` for a model
    that is only to encode with.
    """
    refuse_altered(model, "add the adapter to", may_be_cut=True)
    folder = Path(folder)
    tensors = {name: tensor.clone() for name, tensor in model.clip.state_dict().items()}
    for update in read_updates(folder, model.architecture):
        _add(tensors, update)
    updated = copy.copy(model)
    updated.clip = empty_clip(model.architecture)
    updated.clip.fill(tensors)
    updated.clip.eval()
    updated.facts = {}
    return updated


def read_updates(folder: Path, architecture: Architecture) -> list[Update]:
    """The updates of a folder of either layout, for a model of that architecture; raises as `with_adapter`."""
    config = checked_as(_Config, read_json(folder / CONFIG_NAME), path=folder / CONFIG_NAME)
    header = read_names(folder / WEIGHTS_NAME)
    expected = {name: torch.empty(entry["shape"], device="meta") for name, entry in header.items()}
    tensors = read_tensors(folder / WEIGHTS_NAME, expected)
    updates = list(_named_updates(tensors, architecture, scale=config.lora_alpha / config.r, where=folder))
    if not updates:
        raise RefusedInput(f"{folder / WEIGHTS_NAME} has no update; save the adapter again.")
    clip = empty_clip(architecture)
    known = matrices(clip) if isinstance(clip, DualEncoder) else []
    shape_of = {matrix.path: (matrix.shape, len(matrix.kinds)) for matrix in known}
    for update in updates:
        _refuse_other_shape(update, shape_of, rank=config.r, where=folder)
    return updates


def _refuse_other_shape(
    update: Update, shape_of: Mapping[str, tuple[tuple[int, int], int]], *, rank: int, where: Path
) -> None:
    """`RefusedInput` for an update of no matrix, of other rows or columns than a part of it has, or of another rank."""
    shape, parts = shape_of.get(update.path, ((0, 0), 0))
    rows, columns = len(update.up_RK), update.down_KC.shape[1]
    if (rows, columns) != shape or update.part >= parts:
        raise RefusedInput(
            f"{where / WEIGHTS_NAME} updates {update.path[:80]!r} by {rows} x {columns}, which does not fit the model; "
            "add it to the one it was trained on."
        )
    if update.rank != rank:
        raise RefusedInput(
            f"{where / WEIGHTS_NAME} has rank {update.rank}, but {CONFIG_NAME} says {rank}; save the adapter again."
        )


def _named_updates(
    tensors: Mapping[str, Tensor], architecture: Architecture, *, scale: float, where: Path
) -> Iterator[Update]:
    is_peft = any(name.endswith((".lora_A.weight", ".lora_B.weight")) for name in tensors)
    ours = {module: (*key, turned) for key, (module, turned) in _their_modules(architecture).items()} if is_peft else {}
    ends = (".lora_B.weight", ".lora_A.weight") if is_peft else (".up", ".down")
    names = dict.fromkeys(name.removesuffix(ends[0]).removesuffix(ends[1]) for name in tensors)
    for name in names:
        up, down = tensors.get(name + ends[0]), tensors.get(name + ends[1])
        path, _, part = name.rpartition(".")
        is_turned = False
        if is_peft and (module := name.removeprefix(WRAPPER)) in ours:
            path, part, is_turned = ours[module]
        elif is_peft or not part.isdecimal():
            path = ""
        if not path or up is None or down is None or up.ndim != 2 or down.ndim != 2 or up.shape[1] != len(down):
            raise RefusedInput(f"{where / WEIGHTS_NAME} has {name[:80]!r}, which is no update of this model.")
        if is_turned:
            up, down = down.T, up.T
        yield Update(path=path, part=int(part), up_RK=up, down_KC=down, scale=scale)


def _add(tensors: dict[str, Tensor], update: Update) -> None:
    weight, rows = tensors[update.path], len(update.up_RK)
    first = update.part * rows
    delta = update.scale * (update.up_RK @ update.down_KC)
    weight[first : first + rows] += delta.reshape(rows, *weight.shape[1:]).to(weight.device)

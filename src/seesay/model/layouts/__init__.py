"""How models lie in folders: ours, open_clip's, and Hugging Face's, of CLIP and of SigLIP; one file per layout.

A layout is a module with `is_in(folder)`, `read(folder, tokenizer=None) -> Parts` and `files(parts, dtype=None)`,
which gives name -> bytes. Tensor names are in `*_tensors.py`, as links that work in both directions.
"""

from pathlib import Path
from types import ModuleType

from seesay.base.errors import RefusedInput, UsageError, nearest
from seesay.model.layouts import (
    hf,
    hf_clip,
    hf_half,
    hf_images,
    hf_naflex,
    hf_siglip,
    hf_tokenizer,
    open_clip,
    open_clip_siglip,
    seesay,
)
from seesay.model.layouts.config_file import read_json
from seesay.model.pickles import ENDINGS, refuse_pickle
from seesay.model.weights import has_weights

# In the order they are looked for. A folder may hold open_clip's files beside Hugging Face's of the same model, or
# beside a configuration of timm for the image tower alone, so open_clip comes first.
READERS: tuple[ModuleType, ...] = (seesay, open_clip_siglip, open_clip, hf_clip, hf_siglip, hf_naflex, hf_half)
# All that any layout writes.
FILE_NAMES = frozenset(
    {
        *(layout.CONFIG_NAME for layout in READERS),
        *(layout.WEIGHTS_NAME for layout in READERS),
        *hf_images.FILE_NAMES,
        hf_tokenizer.FILE_NAME,
        hf_tokenizer.CONFIG_NAME,
        *("vocab.json", "merges.txt", "special_tokens_map.json"),
    }
)
# Of models that lie below a folder that is none, in its error.
SHOWN_FOLDERS = 3
WRITERS: dict[str, ModuleType] = {"seesay": seesay, "hf": hf, "open_clip": open_clip}


def layout_in(folder: Path) -> ModuleType:
    """The layout whose files are in the folder; `RefusedInput` if there is none."""
    described = [layout for layout in READERS if layout.is_in(folder)]
    whole = [layout for layout in described if has_weights(folder / layout.WEIGHTS_NAME)]
    if not described:
        _refuse_other_type(folder / hf_clip.CONFIG_NAME)
        names = list(dict.fromkeys(layout.CONFIG_NAME for layout in READERS))
        inside = [path.parent for depth in ("*", "*/*") for name in names for path in folder.glob(f"{depth}/{name}")]
        shown = ", ".join(map(str, sorted(set(inside))[:SHOWN_FOLDERS]))
        hint = f"models lie below it: {shown}" if inside else "a model folder holds one of these and its weights"
        raise RefusedInput(f"{folder} holds none of {', '.join(names)}; {hint}.")
    if not whole:
        _refuse_pickles(folder)
    return (whole or described)[0]


def writer(name: str) -> ModuleType:
    """The layout of that name; `UsageError` if there is none."""
    if name not in WRITERS:
        raise UsageError(f"layout {name!r} is not known.{nearest(name, WRITERS)} Known: {', '.join(WRITERS)}.")
    return WRITERS[name]


def refuse_foreign(folder: Path) -> None:
    """`UsageError` if the folder holds what no layout writes: saving a model replaces all of it."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name not in FILE_NAMES or path.is_dir():
            raise UsageError(
                f"folder {folder} holds {path.name}, which is not of a model; choose an empty or new folder."
            )


def _refuse_other_type(path: Path) -> None:
    """A configuration of transformers for another model is named, with what is read of that program's."""
    if path.is_file():
        kind = read_json(path).get("model_type")
        known = [hf_clip.MODEL_TYPE, hf_siglip.MODEL_TYPE, hf_naflex.MODEL_TYPE, *hf_half.MODEL_TYPES]
        raise RefusedInput(
            f"{path} is of model_type {kind!r:.60}, which seesay does not read; of transformers it reads "
            f"{', '.join(known)}."
        )


def _refuse_pickles(folder: Path) -> None:
    """Weights of the same model in a file that is not read are named, for that is what people stand before."""
    for path in sorted(folder.iterdir()):
        if path.suffix in ENDINGS and path.is_file():
            refuse_pickle(path)

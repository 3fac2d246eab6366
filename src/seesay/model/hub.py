"""Names to models: a folder, a file, a repository of the Hugging Face hub, or a short name for one."""

from pathlib import Path

from seesay.base.errors import UsageError, nearest
from seesay.base.publish import find_published
from seesay.base.runtime import Runtime
from seesay.model.bundle import Model, load_folder
from seesay.model.known_models import KNOWN, PACKAGED
from seesay.model.layouts.bare import described_folder, read_bare
from seesay.model.layouts.seesay import CONFIG_NAME

HUB = "hf:"


def load(name_or_path: str | Path, *, tokenizer: str | Path | None = None, activation: str | None = None) -> Model:
    """The model of that name or in that place, on the CPU and ready to encode.

    A place is a folder of any layout or one safetensors file, a name is "hf:owner/name" or a short one that
    `seesay models` lists; a folder of that name goes before a short name. `tokenizer` names the vocabulary's file
    where none lies beside the weights, `activation` is for files without a description. `UsageError` for what is not
    there, `RefusedInput` for what holds no whole model, `StorageError` where network or disk fail.
    """
    vocabulary = Path(tokenizer) if tokenizer is not None else None
    place = _place(str(name_or_path))
    folder = described_folder(place) if place.is_file() else place
    if folder is None:
        return Model.of(read_bare(place, activation=activation, tokenizer=vocabulary))
    if activation is not None:
        raise UsageError(f"{name_or_path} says its activation itself; leave activation={activation!r} out.")
    return load_folder(folder, tokenizer=vocabulary)


def _place(name: str) -> Path:
    """Where the model of that name lies on disk, after it was fetched if it has to be."""
    folder = PACKAGED.get(name, Path(name))
    if (folder / "model" / CONFIG_NAME).is_file() and not (folder / CONFIG_NAME).exists():
        raise UsageError(f"{name} is a run; its model is {folder / 'model'}.")
    if folder.exists():
        return folder
    if (whole := find_published(folder)) is not None:
        return whole
    repository = name.removeprefix(HUB) if name.startswith(HUB) else getattr(KNOWN.get(name), "repository", None)
    if repository is not None:
        from seesay.model.download import download

        return download(repository)
    known = [*PACKAGED, *KNOWN]
    raise UsageError(
        f"model {name!r} is no folder and no known name.{nearest(name, known)} `seesay models` lists the names; "
        "else name a folder such as RUN/model, or hf:owner/name."
    )


def on_best_device(model: Model | str | Path) -> Model:
    """A name loaded to the best device there is, raising as `load`; a `Model` is returned as it is, where it is."""
    return model if isinstance(model, Model) else load(model).to(Runtime.find().device)

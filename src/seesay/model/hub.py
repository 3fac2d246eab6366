"""Names to models: a folder, a file, a repository of the Hugging Face hub, or a short name for one."""

from collections.abc import Iterable
from pathlib import Path

from seesay.base.errors import UsageError, nearest
from seesay.base.hub import HUB
from seesay.base.names import no_empty_names, same_name
from seesay.base.publish import find_published
from seesay.base.runtime import Runtime
from seesay.base.streams import say
from seesay.model.bundle import Model
from seesay.model.compact_weights import check_weights_dtype, describe_weights, refuse_beside
from seesay.model.download import Repository, download
from seesay.model.engines import ON_CPU, check_engine
from seesay.model.known_models import KNOWN, PACKAGED, PAPER_REPOSITORIES, hub_name, known_source
from seesay.model.layouts import layout_in
from seesay.model.layouts.bare import described_folder, read_bare
from seesay.model.layouts.seesay import CONFIG_NAME
from seesay.model.layouts.sentence_transformers import clip_folder
from seesay.model.open_clip_names import OPEN_CLIP
from seesay.nets.compact import WEIGHTS_DTYPES, compacting
from seesay.nets.presets import PRESETS

# The file that makes a folder a run's, as `training.run_folder` writes it.
RUN_SETTINGS = "settings.toml"


@no_empty_names
def load(
    name_or_path: str | Path,
    *,
    tokenizer: str | Path | None = None,
    activation: str | None = None,
    weights_dtype: str | None = None,
) -> Model:
    """The model of that name or at that path, on the CPU and ready to encode.

    A path is a folder of any layout, a run with its model or one safetensors file. A name is "hf:owner/name", perhaps
    with "@revision", or a short one that `seesay models` lists, in any case and marks; a folder of that name goes
    before a short name. `tokenizer` names the vocabulary's file where none lies beside the weights, `activation` is for
    files without a description.

    With `weights_dtype`, "float16", "bfloat16", "int8" or "float32", the weights of matrix products stay in that dtype,
    and are float32 only while their layer computes: less memory, to encode with only. Where the file has that dtype it
    is mapped: processes share it, and it must not be written to while it is used. Else they are rounded.

    `UsageError` for what is not there, `RefusedInput` for what holds no whole model, `StorageError` where network or
    disk fail.
    """
    kept = None if weights_dtype is None else WEIGHTS_DTYPES[check_weights_dtype(weights_dtype)]
    vocabulary = Path(tokenizer) if tokenizer is not None else None
    found = find_model(str(name_or_path))
    path = download(found, tokenizer=vocabulary) if isinstance(found, Repository) else found
    folder = described_folder(path) if path.is_file() else path
    if folder is not None and activation is not None:
        raise UsageError(f"{name_or_path} names its activation itself; leave activation={activation!r} out.")
    with compacting(kept):
        if folder is None:
            model = Model.of(read_bare(path, activation=activation, tokenizer=vocabulary))
        else:
            model = load_folder(folder, tokenizer=vocabulary)
    model.weights_dtype = weights_dtype
    if folder is not None and isinstance(found, Repository) and model.name == folder.name:
        # The folder in the cache is called after a commit.
        model.name = found.name.rpartition("/")[2]
    return model


def find_model(name: str) -> Path | Repository:
    """Where the model of that name is, on disk or on the hub; `UsageError` for a name that is nothing."""
    folder = PACKAGED.get(name, Path(name))
    if folder.exists():
        return _of_run(folder)
    if (whole := find_published(folder)) is not None:
        return whole
    if (written := hub_name(name)) is not None:
        repository, revision = written
        return Repository(name=repository, revision=revision)
    if (source := known_source(name)) is not None:
        return source if isinstance(source, Path) else Repository(name=source)
    raise _unknown(name)


def _of_run(folder: Path) -> Path:
    """The folder, or the model in it where it is a run's; `UsageError` for a run that is not finished."""
    if (folder / CONFIG_NAME).exists():
        return folder
    if (folder / "model" / CONFIG_NAME).is_file():
        return folder / "model"
    if (folder / RUN_SETTINGS).is_file():
        raise UsageError(f"{folder} is a run that is not finished and has no model; the same `seesay train` goes on.")
    return folder


def _unknown(name: str) -> UsageError:
    """The error for a name that is nothing, with what it may have been meant to be."""
    last = name.rpartition("/")[2]
    alike = [known for known in KNOWN if same_name(name, [known.partition("/")[2]])]
    if name in PAPER_REPOSITORIES:
        hint = f" Here it is {PAPER_REPOSITORIES[name]}, with the same weights; from its repository it is {HUB}{name}."
    elif alike:
        hint = f" Models of that size are {', '.join(alike)}; to train one, give it to `seesay train --model`."
    elif same_name(name, PRESETS):
        hint = " It is a size, and has no weights before `seesay train --model` has made some."
    else:
        hint = nearest(name, [*PACKAGED, *KNOWN, *OPEN_CLIP]) or nearest(
            last, KNOWN, part=lambda known: known.rpartition("/")[2]
        )
        if name.count("/") == 1 and not Path(name).parent.is_dir():
            hint += f" As a repository of huggingface.co it is {HUB}{name}."
    return UsageError(
        f"model {name!r} is no folder and no known name.{hint} `seesay models` lists the names; "
        "else name a folder such as RUN/model, or hf:owner/name."
    )


def on_device(
    model: Model | str | Path,
    device: str | None = None,
    *,
    precision: str | None = None,
    width: int | None = None,
    batch_size: int | None = None,
    engine: str | None = None,
    weights_dtype: str | None = None,
) -> Model:
    """A name loaded to `device`, raising as `load`, and without one to the best there is, or where `engine` computes; a
    `Model` stays where it is unless a device is named. `precision`, `width`, `batch_size` and `engine` are as in
    `Model.with_precision` and so on, None: as it is; `weights_dtype` is as in `load`, and logged. `UsageError` for a
    device that is not here, an engine that does not compute there, and for one but torch with a precision or a
    `weights_dtype` beside it."""
    if weights_dtype is not None:
        refuse_beside(check_weights_dtype(weights_dtype), engine=engine, precision=precision)
        refuse_loaded([model], weights_dtype)
    if engine is not None:
        check_engine(engine)
        if precision is not None and engine != "torch":
            raise UsageError(f"--engine {engine} has a precision of its own; leave --precision {precision} out.")
        if engine in ON_CPU and device not in (None, "cpu"):
            raise UsageError(f"--engine {engine} computes on the CPU; leave --device {device} out.")
    is_moved = device is not None or not isinstance(model, Model)
    # Before anything is loaded: the device may not be here.
    where = Runtime.find("cpu" if engine in ON_CPU else device).device if is_moved else None
    chosen = model if isinstance(model, Model) else _load_as(model, weights_dtype)
    # Before it is moved, as what is computed on the CPU is not.
    chosen = chosen if engine is None else chosen.with_engine(engine)
    chosen = chosen if where is None else chosen.to(where)
    chosen = chosen if precision is None else chosen.with_precision(precision)
    chosen = chosen if width is None else chosen.with_width(width)
    return chosen.with_batch_size(batch_size)


def refuse_loaded(models: Iterable[Model | str | Path], weights_dtype: str | None) -> None:
    """`UsageError` where a `weights_dtype` is asked of models of which one is loaded already."""
    for model in models:
        if weights_dtype is not None and isinstance(model, Model):
            raise UsageError(f"weights_dtype is for a model that is loaded here; give it to load for {model.name}.")


def _load_as(name: str | Path, weights_dtype: str | None) -> Model:
    """As `load`; weights that are kept in another way are logged."""
    if weights_dtype is None:
        return load(name)
    model = load(name, weights_dtype=weights_dtype)
    say(describe_weights(model))
    return model


def load_folder(folder: Path, *, tokenizer: Path | None = None) -> Model:
    """The model in a folder of any layout; `RefusedInput` if anything in it is missing, damaged or not understood.

    `tokenizer` names the vocabulary of a foreign folder that has none beside its weights.
    """
    inner = clip_folder(folder)
    parts = layout_in(inner).read(inner, tokenizer=tokenizer)
    model = Model.of(parts)
    if inner != folder:
        model.name = folder.resolve().name
    return model

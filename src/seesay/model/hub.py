"""Names to models: a folder, or the small model that comes with the package."""

from pathlib import Path

from seesay.base.errors import UsageError, nearest
from seesay.base.publish import find_published
from seesay.model.bundle import CONFIG_NAME, Model, load_folder

PACKAGED = {"box": Path(__file__).parent / "box"}


def load(name_or_folder: str | Path) -> Model:
    """The model of that name or in that folder, on the CPU and ready to encode.

    `UsageError` for neither a name nor a folder, `RefusedInput` for a folder that holds no whole model.
    """
    name = str(name_or_folder)
    folder = PACKAGED.get(name, Path(name))
    if (folder / "model" / CONFIG_NAME).is_file() and not (folder / CONFIG_NAME).exists():
        raise UsageError(f"{name} is a run; its model is {folder / 'model'}.")
    if folder.is_dir():
        return load_folder(folder)
    if folder.exists():
        raise UsageError(f"model {name} is a file; name the folder that holds {CONFIG_NAME}.")
    if (whole := find_published(folder)) is not None:
        return load_folder(whole)
    raise UsageError(
        f"model {name!r} is no folder and no known name.{nearest(name, PACKAGED)} "
        f"Known: {', '.join(PACKAGED)}, or a folder such as RUN/model."
    )

"""Names to models: a folder, or the small model that comes with the package."""

from pathlib import Path

from seesay.base.errors import UsageError, nearest
from seesay.model.bundle import CONFIG_NAME, Model, load_folder

PACKAGED = {"box": Path(__file__).parent / "box"}


def load(name_or_folder: str | Path) -> Model:
    """The model of that name or in that folder, on the CPU and ready to encode."""
    name = str(name_or_folder)
    folder = PACKAGED.get(name, Path(name))
    if folder.is_dir():
        return load_folder(folder)
    if folder.exists():
        raise UsageError(f"model {name} is a file; name the folder that holds {CONFIG_NAME}.")
    raise UsageError(
        f"model {name!r} is no folder and no known name.{nearest(name, PACKAGED)} "
        f"Known: {', '.join(PACKAGED)}, or a folder such as RUN/model."
    )

"""Repositories of the Hugging Face hub to local folders: the one file that opens the network for models.

Only descriptions, vocabularies and one safetensors file are fetched.
"""

from pathlib import Path

from seesay.base.errors import RefusedInput
from seesay.base.hub import check_promised, hub_errors
from seesay.model.layouts import READERS
from seesay.model.layouts.hf_images import CONFIG_NAME as PREPROCESSOR_NAME
from seesay.model.layouts.hf_tokenizer import CONFIG_NAME as TOKENIZER_CONFIG_NAME
from seesay.model.layouts.vocabulary import FILE_NAMES as VOCABULARIES

DESCRIPTIONS = [
    *(layout.CONFIG_NAME for layout in READERS),
    PREPROCESSOR_NAME,
    TOKENIZER_CONFIG_NAME,
    "vocab.json",
    *VOCABULARIES,
]


def download(repository: str) -> Path:
    """The folder in the cache that holds what is needed of `owner/name`; fetched unless it is there already.

    Raises what `hub_errors` does, and `RefusedInput` for a repository without a model that can be read, or for bytes
    other than the hub promised.
    """
    with hub_errors(repository, "model"):
        return _fetch(repository)


def _fetch(repository: str) -> Path:
    from huggingface_hub import hf_hub_download, snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import RemoteEntryNotFoundError

    folder = Path(snapshot_download(repository, allow_patterns=DESCRIPTIONS, library_name="seesay"))
    for layout in (layout for layout in READERS if layout.is_in(folder)):
        # The folder is named after the commit its files are from.
        is_new = not isinstance(try_to_load_from_cache(repository, layout.WEIGHTS_NAME, revision=folder.name), str)
        try:
            path = Path(hf_hub_download(repository, layout.WEIGHTS_NAME, revision=folder.name, library_name="seesay"))
        except RemoteEntryNotFoundError:
            continue
        if is_new:
            check_promised(path)
        return folder
    raise RefusedInput(
        f"hf:{repository} holds no description with safetensors weights that seesay reads; fetch its pickle yourself "
        "and turn it into safetensors with `seesay convert --from-pickle`, or name another repository."
    )

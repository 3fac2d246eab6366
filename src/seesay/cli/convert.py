"""`seesay convert`: a model of one layout into another, with the proof that nothing changed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from seesay.base.errors import UsageError
from seesay.base.printable import printable
from seesay.base.streams import say

if TYPE_CHECKING:
    from seesay.model.download import Repository


def command(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Model folder, safetensors file, or a model's name.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="The new folder.")],
    *,
    to: Annotated[Literal["seesay", "hf", "open_clip"] | None, typer.Option(help="The layout to write.")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file of the vocabulary, if none is beside the weights.")
    ] = None,
    activation: Annotated[
        Literal["quick_gelu", "gelu", "gelu_tanh"] | None,
        typer.Option(
            help="The model's activation, if SRC is a single file, which does not name it; OpenAI: quick_gelu."
        ),
    ] = None,
    dtype: Annotated[
        Literal["float32", "float16", "bfloat16"] | None,
        typer.Option(help="Round the weights to it [default: as they are]."),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(metavar="N", help="For images of N px: position tables are interpolated.")
    ] = None,
    context: Annotated[
        int | None, typer.Option(metavar="N", help="For texts of N tokens: positions from the 20th on are stretched.")
    ] = None,
    from_pickle: Annotated[
        bool,
        typer.Option(
            "--from-pickle",
            help="Copy the weights in the pickle SRC (.pt, .bin) to the safetensors file DST, or of a model on the hub "
            "to the folder DST; no code in it is run.",
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Read a pickle even if its process cannot be cut off from the network.")
    ] = False,
) -> None:
    """Write a model in the layout of another program, or for images of another size and longer texts.

    The new folder is read back, and both models embed the same few images and captions. The largest difference of
    their embeddings is printed; if it is above 1e-5 (with --dtype, above its rounding) nothing is written.
    transformers reads hf, open_clip reads open_clip.

    Example: seesay convert runs/mine/model mine-hf --to hf
    """
    options = {"to": to, "tokenizer": tokenizer, "dtype": dtype, "image_size": image_size, "context": context}
    if from_pickle and (repository := _on_hub(source)) is not None:
        from seesay.model.download import unpickled

        if activation:
            raise UsageError("a model on the hub names its activation itself; leave --activation out.")
        with unpickled(repository, tokenizer=tokenizer, force=force) as folder:
            _convert(source, destination, folder, **{**options, "to": to or "seesay"})
        return
    if from_pickle:
        if activation or any(options.values()):
            raise UsageError("--from-pickle only writes a safetensors file; convert that file in a second step.")
        _from_pickle(Path(source), destination, force=force)
        return
    _convert(source, destination, source, activation=activation, **options)


def _convert(source: str, destination: Path, path: str | Path, *, to: Any, **options: Any) -> None:
    from seesay.model.convert import convert

    proof = convert(path, destination, to=to, **options)
    differences = f"{proof.images:.1e} (images), {proof.texts:.1e} (texts)"
    print(printable(f"{source} -> {destination} ({to or 'seesay'}); largest difference {differences}"))
    if proof.crop:
        say(
            f"{proof.crop} crops one pixel beside the centre that SRC has, where an odd number of pixels is too many "
            "(about one photo in four)."
        )
    if proof.left_out:
        say(f"{destination} does not keep what SRC knows beside its weights: {'; '.join(proof.left_out)}.")
    if proof.reshaped:
        say(
            f"the difference is between the new model and its files; {source} answers otherwise: measure it before use."
        )


def _on_hub(source: str) -> "Repository | None":
    """The repository that SRC names, unless it is a file on disk."""
    from seesay.model.download import Repository
    from seesay.model.hub import find_model

    found = None if Path(source).exists() else find_model(source)
    return found if isinstance(found, Repository) else None


def _from_pickle(source: Path, destination: Path, *, force: bool) -> None:
    from seesay.model.pickles import convert_pickle

    convert_pickle(source, destination, force=force)
    print(printable(f"{source} -> {destination} (safetensors)"))

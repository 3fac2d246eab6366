"""`seesay convert`: a model of one layout into another, with the proof that nothing changed."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from seesay.base.errors import UsageError


def command(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Model folder, safetensors file, or a model's name.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="The new folder.")],
    *,
    to: Annotated[Literal["hf", "open_clip", "seesay"] | None, typer.Option(help="The layout to write.")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The vocabulary, where none lies beside the weights.")
    ] = None,
    activation: Annotated[
        Literal["quick_gelu", "gelu", "gelu_tanh"] | None,
        typer.Option(help="Of a single file without a description: quick_gelu for OpenAI's own."),
    ] = None,
    from_pickle: Annotated[
        bool, typer.Option("--from-pickle", help="SRC is a .pt or .bin; DST is the safetensors file to make of it.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Read a pickle even where its process cannot be cut from the network.")
    ] = False,
) -> None:
    """Write a model in the layout of another program.

    The result is read back and embeds fixed images and captions; the largest difference is printed, and above
    1e-5 nothing is written. transformers reads hf, open_clip reads open_clip.

    Example: seesay convert runs/mine/model mine-hf --to hf
    """
    if from_pickle:
        if to or tokenizer or activation:
            raise UsageError("--from-pickle makes a safetensors file and no more; convert that one in a second step.")
        _from_pickle(Path(source), destination, force=force)
        return
    if to is None:
        raise UsageError("--to is missing; name the layout to write: hf, open_clip or seesay.")
    from seesay.model.convert import convert
    from seesay.model.hub import load

    proof = convert(load(source, tokenizer=tokenizer, activation=activation), destination, to)
    print(
        f"{source} -> {destination} ({to}); largest difference {proof.images:.1e} (images), {proof.texts:.1e} (texts)"
    )


def _from_pickle(source: Path, destination: Path, *, force: bool) -> None:
    from seesay.model.pickles import convert_pickle

    convert_pickle(source, destination, force=force)
    print(f"{source} -> {destination} (safetensors)")

"""`seesay serve`: search and classify in a browser, and embed over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from seesay.base.streams import say
from seesay.cli.encode_options import Engine, WeightsDtype
from seesay.cli.run_options import Device


def command(
    photos: Annotated[
        Path | None, typer.Argument(metavar="[PHOTOS]", show_default=False, help="Folder of photos to search in.")
    ] = None,
    *,
    model: Annotated[str | None, typer.Option(metavar="M", help="Folder or name; default: box, the small one.")] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0: any that is free.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Holds the token that callers send; needed beyond 127.0.0.1.")
    ] = None,
    index: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The index [default: in the user's cache].")
    ] = None,
    device: Device = None,
    engine: Engine = None,
    weights_dtype: WeightsDtype = None,
) -> None:
    """Serve a model over HTTP, with a page to search your photos and to try labels.

    The index of PHOTOS is made or brought up to date first; without PHOTOS, --index is served as it is. Routes:
    /v1/embed, /v1/embeddings (as OpenAI's clients ask), /v1/classify, /v1/search, /v1/thumbnails/ID, /healthz, /readyz,
    /metrics; /openapi.json describes them. Ctrl-C or SIGTERM ends it when the requests in hand are answered.

    Example: seesay serve photos/
    """
    from seesay.service.serve import serve

    if model is None and index is None:
        say("model: box, the small one of the package; name a larger one with --model.")
    how = {"device": device, "engine": engine, "weights_dtype": weights_dtype}
    serve(photos, model=model, host=host, port=port, token_file=token_file, index=index, **how)

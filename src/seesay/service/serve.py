"""A model and a folder of photos behind HTTP on this machine: `seesay serve`."""

import gc
import ipaddress
import os
import socket
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seesay.base.bounded import read_text
from seesay.base.errors import UsageError
from seesay.base.names import PACKAGED_MODEL, no_empty_names
from seesay.base.printable import printable
from seesay.base.streams import say

if TYPE_CHECKING:
    from seesay.index.photo_index import PhotoIndex
    from seesay.model.bundle import Model

LOOPBACK_NAMES = ("localhost",)
# Letters of a token: a guess at what nobody finds out by trying, and at what is a file of something else.
SHORTEST_TOKEN, LONGEST_TOKEN = 16, 4096
PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


@no_empty_names
def serve(
    photos: str | Path | None = None,
    *,
    model: "Model | str | Path | None" = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    token_file: str | Path | None = None,
    index: str | Path | None = None,
    device: str | None = None,
    engine: str | None = None,
    weights_dtype: str | None = None,
) -> None:
    """Answer over HTTP, and show a page to search and classify with, until the process is told to end.

    With `photos` their index is made or brought up to date first, as `search` does it; with `index` alone an index is
    served as it is, by the model that it names where none is given; with neither there is no search. What another
    process adds to the index is found within seconds. `engine` is as in `Model.with_engine`, `weights_dtype`
    as in `load`.
    Beyond this machine's own addresses a token is needed, which callers send as `Authorization: Bearer TOKEN`.

    Raises `UsageError` for such a host without a token, an index by another model, or packages that are missing,
    `SeesayError` for a port in use, `KeyboardInterrupt` at Ctrl-C. SIGTERM is an ordinary end.

        seesay.serve("photos", port=8000)
    """
    for name in PACKAGES:
        try:
            import_module(name)
        except ImportError as error:
            raise UsageError("serving needs packages that are missing: pip install 'seesay[serve]'") from error
    token = None if token_file is None else _token_of(Path(token_file))
    is_loopback = _is_loopback(host)
    if token is None and not is_loopback:
        raise UsageError(
            f"--host {host} can be reached by others, who need a token; write one to a file, as "
            "`openssl rand -hex 24 > token`, and name it with --token-file."
        )
    from seesay.service.listening import bind

    listener = bind(host, port)
    with listener:
        loaded, opened = _opened(photos, model, index=index, device=device, engine=engine, weights_dtype=weights_dtype)
        _run(loaded, opened, listener, token=token, is_loopback=is_loopback)


def _run(
    model: "Model", index: "PhotoIndex | None", listener: socket.socket, *, token: str | None, is_loopback: bool
) -> None:
    from seesay.service.answering import Service
    from seesay.service.app import create_app
    from seesay.service.guard import Access, Guard
    from seesay.service.listening import server_of
    from seesay.service.measures import Measures

    measures = Measures()
    service = Service(model, index, measures)
    own = socket.gethostname().lower()
    names = () if is_loopback else (own, f"{own}.local")
    access = Access(is_loopback=is_loopback, token=token, names=names)
    try:
        app = create_app(service, measures)
        guard = Guard(app=app, access=access, measures=measures)
        gc.freeze()  # else all that torch has made is looked at again every few seconds, a tenth of a second each time
        server_of(guard, on_start=lambda: _announce(listener, model, index)).run(sockets=[listener])
    finally:
        gc.unfreeze()
        service.close()


def _announce(listener: socket.socket, model: "Model", index: "PhotoIndex | None") -> None:
    address, port = listener.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    photos = "no photos" if index is None else f"{len(index):,} photos"
    print(f"http://{shown}:{port}/   model: {printable(model.name)}   {photos}", flush=True)
    say("Ctrl-C ends it.")


def _opened(
    photos: str | Path | None,
    model: "Model | str | Path | None",
    *,
    index: str | Path | None,
    **how: Any,
) -> "tuple[Model, PhotoIndex | None]":
    from seesay.index.photo_index import open_index
    from seesay.index.search import open_for, refuse_no_folder
    from seesay.model.hub import on_device

    if photos is not None:
        refuse_no_folder(Path(photos))
        loaded = on_device(PACKAGED_MODEL if model is None else model, **how)
        name = str(model) if isinstance(model, str | Path) else None if model is None else loaded.name
        opened = open_for(photos, loaded, index=index, name=name)
        say(str(opened.refresh()))
        return loaded, opened
    if index is not None:
        loaded = on_device(open_index(index).facts.model if model is None else model, **how)
        return loaded, open_index(index, model=loaded)
    return on_device(model if model is not None else PACKAGED_MODEL, **how), None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() in LOOPBACK_NAMES


def _token_of(path: Path) -> str:
    """The token in a file, without white space around it; `UsageError` for none that is good for one."""
    try:
        token = read_text(path, limit=LONGEST_TOKEN).strip()
    except UnicodeDecodeError as error:
        raise UsageError(f"--token-file {path} is no text.") from error
    except OSError as error:
        raise UsageError(f"--token-file {path} cannot be read ({error.strerror}).") from error
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"--token-file {path} should hold one word of {SHORTEST_TOKEN} or more ASCII letters; "
            "`openssl rand -hex 24` makes one."
        )
    if os.name == "posix" and path.stat().st_mode & 0o044:
        say(f"warning: others on this machine can read {path}; `chmod 600` it.")
    return token

"""The routes: forms to the service, its answers to JSON, and the files of the page, which are a table and no folder."""

import asyncio
import base64
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from torch import Tensor

from seesay.base.printable import printable
from seesay.base.streams import say
from seesay.base.version import __version__
from seesay.formulas.similarity import prefix
from seesay.model.encode import row_width
from seesay.service.answering import Service
from seesay.service.forms import (
    ClassifyAnswer,
    ClassifyForm,
    EmbedAnswer,
    EmbeddingsForm,
    EmbedForm,
    FaultAnswer,
    SearchAnswer,
    SearchForm,
    read_form,
)
from seesay.service.measures import MEDIA_TYPE, Measures
from seesay.service.refusals import Refusal

if TYPE_CHECKING:
    from seesay.model.bundle import Model

PAGE = Path(__file__).parent / "page"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
# What each status means to a caller, for the description.
REFUSED = (400, 401, 403, 404, 408, 413, 415, 422, 503)
# Numbers above which an answer is written in a thread: a guess, some milliseconds.
MANY = 1 << 14
FAULTS: dict[int | str, dict[str, Any]] = {status: {"model": FaultAnswer} for status in REFUSED}
# FastAPI would report requests to whoever the environment names.
SILENT: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
DESCRIPTION = """Embed, classify and search by a model and an index of photos on this machine.

`curl -F image=@photo.jpg -F labels="a cat" -F labels="a dog" http://127.0.0.1:8000/v1/classify`"""


def create_app(service: Service, measures: Measures) -> FastAPI:
    """The application; what stands before it is `guard.Guard`."""
    # The pages of documentation that FastAPI has would load scripts from elsewhere.
    app = FastAPI(
        title="seesay",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=SILENT,
    )
    _add_embeddings(app, service)
    _add_photos(app, service)
    _add_state(app, service, measures)
    for path, (name, media) in FILES.items():
        app.add_api_route(path, _file(PAGE / name, media), methods=["GET", "HEAD"], include_in_schema=False)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _not_found)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(Exception, _failed)
    return app


def _add_embeddings(app: FastAPI, service: Service) -> None:
    model = service.model
    name = printable(model.name)

    @app.post("/v1/embed", response_model=EmbedAnswer, responses=FAULTS, openapi_extra=EmbedForm.bodies())
    async def embed(request: Request) -> Response:
        """Unit vectors of texts and images; their dot products are cosines."""
        form = await read_form(request, EmbedForm)
        text_ND, image_ND = await service.embed(form.texts, form.images)
        notes = await service.notes(form.texts)
        facts = {"model": name, "width": row_width(model), "notes": notes}
        return await _answer(
            lambda: facts | {"texts": text_ND.tolist(), "images": image_ND.tolist()},
            size=text_ND.numel() + image_ND.numel(),
        )

    @app.post("/v1/embeddings", responses=FAULTS, openapi_extra=EmbeddingsForm.bodies())
    async def embeddings(request: Request) -> Response:
        """Unit vectors of texts, in the form of OpenAI's service."""
        form = await read_form(request, EmbeddingsForm)
        if form.model != name:
            raise Refusal(404, f"model {form.model!r} is not served here; the model is {name!r}.")
        width = _width_of(model, form.dimensions)
        text_ND, _ = await service.embed(form.input, ())
        text_ND = text_ND if width == row_width(model) else prefix(text_ND, width)
        # Counted as the model reads them: cut at its context.
        count = await asyncio.to_thread(lambda: sum(map(len, model.tokenizer(form.input))))
        usage = {"prompt_tokens": count, "total_tokens": count}
        facts = {"object": "list", "model": name, "usage": usage}
        # What OpenAI's service has not, and its clients leave alone.
        facts |= {"notes": notes} if (notes := await service.notes(form.input)) else {}
        return await _answer(
            lambda: facts | {"data": _rows_as_items(text_ND, is_base64=form.encoding_format == "base64")},
            size=text_ND.numel(),
        )

    @app.get("/v1/models", responses=FAULTS)
    async def models() -> Response:
        """The model that is served, in the form of OpenAI's service."""
        item = {"id": name, "object": "model", "created": 0, "owned_by": "local"}
        return await _answer(lambda: {"object": "list", "data": [item]})


def _add_photos(app: FastAPI, service: Service) -> None:
    name = printable(service.model.name)

    @app.post("/v1/classify", response_model=ClassifyAnswer, responses=FAULTS, openapi_extra=ClassifyForm.bodies())
    async def classify(request: Request) -> Response:
        """The labels for a photo with their probabilities, best first."""
        labels, notes = await service.classify(await read_form(request, ClassifyForm))
        items = [{"label": label, "probability": probability} for label, probability in labels]
        return await _answer(lambda: {"model": name, "labels": items, "notes": notes})

    @app.post("/v1/search", response_model=SearchAnswer, responses=FAULTS, openapi_extra=SearchForm.bodies())
    async def search(request: Request) -> Response:
        """The photos nearest to words, to a photo that is sent, or to one of the index, best first."""
        form = await read_form(request, SearchForm)
        hits = await service.search(form)
        notes = await service.notes([*filter(None, [form.text]), *form.plus, *form.minus])
        # A number may be another photo's in another version, and browsers keep thumbnails.
        version = 0 if service.index is None else service.index.version
        items = [
            {"id": hit.id, "path": path, "score": hit.score, "thumbnail": f"/v1/thumbnails/{hit.id}?v={version}"}
            for hit, path in hits
        ]
        return await _answer(lambda: {"model": name, "photos": items, "notes": notes})

    @app.get("/v1/thumbnails/{number}", responses=FAULTS | {200: {"content": {"image/jpeg": {}}}})
    async def thumbnail(number: Annotated[int, InPath(ge=0, lt=1 << 62)]) -> Response:
        """A small JPEG of a photo, without anything beside its pixels."""
        image = await service.thumbnail(number)
        if image is None:
            raise Refusal(404, f"photo {number} is not in the index.")
        return Response(image, media_type="image/jpeg", headers={"cache-control": "private, max-age=600"})


def _add_state(app: FastAPI, service: Service, measures: Measures) -> None:
    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz")
    async def alive() -> Response:
        """Whether the process answers."""
        return await _answer(lambda: {"status": "ok"})

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", responses={503: {"model": FaultAnswer}})
    async def ready() -> Response:
        """Whether questions are answered."""
        if not service.is_ready:
            raise Refusal.busy("the model has stopped; start the service again.")
        return await _answer(lambda: {"status": "ready"})

    @app.get("/metrics", responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Counts and times in the format of Prometheus."""
        return Response(measures.text(), media_type=MEDIA_TYPE)


def _width_of(model: "Model", dimensions: int | None) -> int:
    """How many numbers of a row are wanted; `Refusal` where the model was not trained for rows of so many."""
    whole = row_width(model)
    widths = sorted({whole, *(width for width in model.architecture.widths or () if width < whole)})
    if dimensions is not None and dimensions not in widths:
        shown = " or ".join(map(str, widths))
        raise Refusal(400, f"dimensions: vectors of {model.name} have {shown} numbers, and {dimensions} are asked for.")
    return dimensions or whole


def _rows_as_items(text_ND: Tensor, *, is_base64: bool) -> list[dict[str, Any]]:
    if is_base64:
        rows: list = [base64.b64encode(row_D.numpy().astype("<f4").tobytes()).decode() for row_D in text_ND]
    else:
        rows = text_ND.tolist()
    return [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]


async def _answer(values: Callable[[], Any], *, size: int = 0) -> Response:
    """JSON of values; large ones are made in a thread."""

    def written() -> bytes:
        return to_json(values())

    return Response(await asyncio.to_thread(written) if size > MANY else written(), media_type="application/json")


def _file(path: Path, media: str) -> Callable[[], Any]:
    content = path.read_bytes()

    async def file() -> Response:
        return Response(content, media_type=media, headers={"cache-control": "no-cache"})

    return file


def _line(request: Request, refusal: Refusal) -> Response:
    return Response(refusal.body(request.scope.get("request_id", "")), refusal.status, headers=refusal.headers)


async def _refused(request: Request, refusal: Any) -> Response:
    return _line(request, refusal)


async def _not_found(request: Request, error: Any) -> Response:
    methods = (error.headers or {}).get("Allow", "another method")
    messages = {
        404: "there is nothing at this address; /openapi.json lists those that there are.",
        405: f"{request.method} is no method of this address; it takes {methods}.",
    }
    message = messages.get(error.status_code, "the request cannot be answered.")
    return _line(request, Refusal(error.status_code, message, headers=error.headers))


async def _unfit(request: Request, error: Any) -> Response:
    return _line(request, Refusal(422, "the address holds what is no number of a photo."))


async def _failed(request: Request, error: Exception) -> Response:
    """Our own mistake, or a disk's: the log has its trace, the caller its number."""
    number = request.scope.get("request_id", "")
    say(f"error: request {number} failed", *"".join(traceback.format_exception(error)).rstrip().split("\n"))
    return _line(request, Refusal(500, "the service failed; its log has this request."))

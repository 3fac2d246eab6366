"""What may be sent and what comes back, as the description of the service (OpenAPI) has it; and bodies to these forms.

A form is JSON with images in base64, or the fields and files of a multipart form. Every list and text has a bound.
"""

import asyncio
import base64
import binascii
import re
from collections.abc import AsyncGenerator, Callable
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from seesay.base.bounded import refuse_values
from seesay.base.errors import RefusedInput, nearest
from seesay.base.wording import should_be
from seesay.service.refusals import Refusal

# Guesses, all: texts as OpenAI's service takes them at once, and letters of one; images, labels, photos.
MOST_TEXTS, TEXT_LETTERS = 2048, 8192
MOST_IMAGES, MOST_LABELS, LABEL_LETTERS, MOST_PHOTOS, MOST_WORDS = 16, 1000, 512, 200, 16
# Values of a body of JSON: those above, and some.
MOST_VALUES = 4096
# Bytes above which a body is read in a thread, and of what is parsed of a form before others have their turn: guesses.
LARGE, PIECE = 1 << 18, 1 << 16
# Of a field's name in a message; a guess.
SHOWN_LETTERS = 80
MAX_BODY = 32 << 20  # bytes, a guess: above any camera's JPEG, below most RAW files
# Token ids in the place of texts, or lists of them. A quotation mark inside a text has a backslash before it.
_TOKEN_IDS = re.compile(r'"input"\s*:\s*(?:\[\s*){1,2}-?\d')

FormKind = TypeVar("FormKind", bound="Form")


def _decoded(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("it should be an image in base64") from error


def _listed(value: object) -> object:
    if not isinstance(value, str | list):
        raise ValueError("it should be a text, or a list of texts")
    return [value] if isinstance(value, str) else value


Text = Annotated[str, Field(min_length=1, max_length=TEXT_LETTERS)]
Label = Annotated[str, Field(min_length=1, max_length=LABEL_LETTERS)]
ImageFile = Annotated[
    bytes, BeforeValidator(_decoded), WithJsonSchema({"type": "string", "contentEncoding": "base64", "format": "byte"})
]


class Form(BaseModel):
    """A request."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    # Of which one at least is to be there; and the status for what is no such form.
    needed: ClassVar[tuple[str, ...]] = ()
    unfit: ClassVar[int] = 422

    @classmethod
    def check_body(cls, text: str) -> None:
        """`Refusal` for what can be said of a body of JSON before its values are counted."""

    @classmethod
    def bodies(cls) -> dict[str, Any]:
        """How a request is described: as JSON, and as a form where images are files."""
        schema = cls.model_json_schema()
        if cls.needed:
            schema["anyOf"] = [{"required": [name]} for name in cls.needed]
        media = {"application/json": {"schema": schema}}
        if any("byte" in str(value) for value in schema["properties"].values()):
            files = {name: _as_file(value) for name, value in schema["properties"].items()}
            media["multipart/form-data"] = {"schema": {**schema, "examples": [], "properties": files}}
        return {"requestBody": {"required": True, "content": media}}


def _as_file(schema: Any) -> Any:
    """The description of a field with images in base64 as one with files."""
    if isinstance(schema, dict):
        if schema.get("format") == "byte":
            return {"type": "string", "format": "binary"}
        return {name: _as_file(value) for name, value in schema.items()}
    return [_as_file(value) for value in schema] if isinstance(schema, list) else schema


class EmbedForm(Form):
    """Texts, images or both."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"texts": ["two dogs in snow"]}]})
    needed = ("texts", "images")
    texts: Annotated[list[Text], Field(max_length=MOST_TEXTS)] = []
    images: Annotated[list[ImageFile], Field(max_length=MOST_IMAGES)] = []


class EmbeddingsForm(Form):
    """As clients of OpenAI's service ask for embeddings of texts."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "box", "input": "two dogs in snow", "encoding_format": "float"}]}
    )
    # As that service answers, whose clients name their errors by it.
    unfit = 400
    model: Label
    input: Annotated[
        list[Text],
        Field(min_length=1, max_length=MOST_TEXTS),
        BeforeValidator(_listed, json_schema_input_type=Text | list[Text]),
    ]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: Label | None = None

    @classmethod
    def check_body(cls, text: str) -> None:
        """`Refusal` for token ids: clients of OpenAI's service have those of a vocabulary that no text tower has."""
        if _TOKEN_IDS.search(text):
            raise Refusal(
                400,
                "input: it holds token ids, whose vocabulary is not this model's; send texts. LangChain does with "
                "OpenAIEmbeddings(check_embedding_ctx_length=False).",
            )


class ClassifyForm(Form):
    """A photo and the labels among which to choose; a template has one {} for the label."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"image": "iVBORw0KGgo=", "labels": ["a cat", "a dog"], "top": 2}]}
    )
    image: ImageFile
    labels: Annotated[list[Label], Field(min_length=1, max_length=MOST_LABELS)]
    templates: Annotated[list[Label], Field(max_length=MOST_WORDS)] = []
    top: Annotated[int, Field(ge=1, le=MOST_LABELS)] = MOST_LABELS


class SearchForm(Form):
    """Words, a photo, or the id of a photo that is indexed; `plus` and `minus` are words to add and to take away."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "two dogs in snow", "top": 10}, {"like": 1}]})
    needed = ("text", "image", "like", "plus")
    text: Text | None = None
    image: ImageFile | None = None
    like: Annotated[int, Field(ge=0, lt=1 << 62)] | None = None
    plus: Annotated[list[Text], Field(max_length=MOST_WORDS)] = []
    minus: Annotated[list[Text], Field(max_length=MOST_WORDS)] = []
    top: Annotated[int, Field(ge=1, le=MOST_PHOTOS)] = 30


class EmbedAnswer(BaseModel):
    """Unit vectors in the order of the texts and images; `notes` say which texts were cut."""

    model: str
    width: int
    texts: list[list[float]]
    images: list[list[float]]
    notes: list[str]


class LabelScore(BaseModel):
    """A label and its probability."""

    label: str
    probability: float


class ClassifyAnswer(BaseModel):
    """Labels, best first; `notes` say what was left out or cut."""

    model: str
    labels: list[LabelScore]
    notes: list[str]


class PhotoScore(BaseModel):
    """A photo: its number in the index, its path below the folder that is served, and its cosine."""

    id: int
    path: str
    score: float
    thumbnail: str


class SearchAnswer(BaseModel):
    """Photos, best first; `notes` say which words were cut."""

    model: str
    photos: list[PhotoScore]
    notes: list[str]


class Fault(BaseModel):
    """Why there is no answer."""

    message: str
    type: str
    param: str | None
    code: str | None
    request_id: str


class FaultAnswer(BaseModel):
    """The body of every answer that is none."""

    error: Fault


async def read_form(request: Request, kind: type[FormKind]) -> FormKind:
    """The body of a request; `Refusal` with 400, 413, 415 or 422 for what is no such form."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if media == "application/json":
        form = await asyncio.to_thread(_of_json, body, kind) if len(body) > LARGE else _of_json(body, kind)
    elif media == "multipart/form-data":
        form = _checked(kind, kind.model_validate, await _fields(request, kind))
    else:
        raise Refusal(415, "the body should be application/json or multipart/form-data.")
    # A client of Python or a page writes a value that it does not have as null.
    if kind.needed and not any(getattr(form, name) not in (None, []) for name in kind.needed):
        raise Refusal(422, f"one of {', '.join(kind.needed)} is needed.")
    return form


def _of_json(body: bytes, kind: type[FormKind]) -> FormKind:
    try:
        text = body.decode()
        kind.check_body(text)
        refuse_values(text, source="the body", limit=MOST_VALUES, lists=MOST_VALUES)
    except UnicodeDecodeError as error:
        raise Refusal(400, "the body is no UTF-8 text.") from error
    except RefusedInput as error:
        raise Refusal(413, str(error)) from error
    return _checked(kind, lambda data: kind.model_validate_json(data, strict=True), body)


def _checked(kind: type[FormKind], validate: Callable[[Any], FormKind], value: Any) -> FormKind:
    try:
        return validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise Refusal(400, "the body is no valid JSON.") from error
        # A union names its members in the location; the field says enough.
        if first["type"] == "extra_forbidden":
            word = str(first["loc"][-1])[:SHOWN_LETTERS]
            hint = nearest(word, kind.model_fields, count=1) or f" There are {', '.join(kind.model_fields)}."
            raise Refusal(kind.unfit, f"{word}: there is no such field.{hint}") from error
        where = ".".join(str(part) for part in first["loc"][:2] if not str(part).startswith("constrained"))
        raise Refusal(kind.unfit, f"{where or 'the body'}: {should_be(first)}.") from error


class _InMemory(MultiPartParser):
    """Files that are sent are never written to a disk."""

    spool_max_size = MAX_BODY


async def _fields(request: Request, kind: type[Form]) -> dict[str, Any]:
    """The fields of a multipart form; a field that may be a list is one, however often it is there."""
    try:
        parser = _InMemory(
            request.headers,
            _pieces(await request.body()),
            max_files=MOST_IMAGES,
            max_fields=MOST_VALUES,
            max_part_size=4 * TEXT_LETTERS,
        )
        form = await parser.parse()
    except MultiPartException as error:
        raise Refusal(400, f"the form cannot be read: {error.message}") from error
    try:
        return await _by_name(form, kind)
    finally:
        await form.close()


async def _by_name(form: FormData, kind: type[Form]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        content = await value.read() if isinstance(value, UploadFile) else value
        field = kind.model_fields.get(name)
        if field is not None and "list" in str(field.annotation):
            fields.setdefault(name, []).append(content)
        elif name in fields:
            raise Refusal(422, f"{name}: it should be there once.")
        else:
            fields[name] = content
    return fields


async def _pieces(body: bytes) -> AsyncGenerator[bytes, None]:
    for first in range(0, len(body), PIECE):
        yield body[first : first + PIECE]
        await asyncio.sleep(0)
    yield b""

"""What stands before every request: who may call and from where, how much at once, how large, and for how long.

It is decided from the headers, and what is refused is refused before its body is read. A browser sends `Origin` and
`Sec-Fetch-Site`, which a page cannot change, so no other site can use a service of this machine through its visitor.
"""

import asyncio
import hmac
import ipaddress
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seesay.base.processes import usable_cores
from seesay.service.forms import MAX_BODY
from seesay.service.image_readers import PROCESSES
from seesay.service.measures import Measures
from seesay.service.refusals import Refusal

# Requests for the model that are in hand at once: as many as images are decoded at once, and four at least. Most of
# the time of one goes into its HTTP, one after the other in one thread, so that the last waits for that of the others
# (benchmarks/2026-11-29-serve has what comes of it).
WORK_AT_ONCE = max(4, min(usable_cores(), PROCESSES))
# All requests, those included whose bodies are still arriving, and bytes of all bodies together: guesses.
ALL_AT_ONCE = 400
ALL_BYTES = 8 * MAX_BODY
# Seconds for a body to arrive, and for an answer to be made: guesses.
BODY_SECONDS, ANSWER_SECONDS = 30.0, 60.0
# Bytes of a body that is read though it is not used, so that its connection can be used again: a guess.
IGNORED_BYTES = 1 << 16
# Of a Host in a message; a guess.
SHOWN_LETTERS = 80
# What holds nothing of anybody's, and a probe of a container has no token.
WITHOUT_TOKEN = ("/", "/page.js", "/style.css", "/icon.svg", "/healthz", "/readyz")
LOCAL_NAMES = ("localhost", "localhost.localdomain")
# blob: is a photo that the page itself made of what was dropped, or fetched with its token.
POLICY = (
    "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    # Where an answer does not say itself how it may be kept.
    "cache-control": "no-store",
}
_RAW_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
# As long as the number of a request.
_NO_ID = b"?" * 16
_HOST = re.compile(r"(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9.-]{1,253}))(?::\d{1,5})?")


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may call: with `token`, if there is one; by an address, or one of `names`; on loopback by its own alone."""

    is_loopback: bool
    token: str | None = None
    names: tuple[str, ...] = ()

    def check(self, scope: Scope) -> None:
        """`Refusal` with 400 or 403 for a wrong Host or another site, 401 without the token."""
        headers = _single(scope["headers"], "host", "origin", "sec-fetch-site", "authorization")
        host = headers["host"].lower()
        if not self._is_ours(host):
            if not host:
                raise Refusal(400, "the request has no Host; send the address of this service.")
            shown = host[:SHOWN_LETTERS]
            raise Refusal(403, f"the Host {shown!r} is not this service; call it by its address or its machine's name.")
        origin = headers["origin"].lower()
        if origin and origin.partition("://")[::2] not in (("http", host), ("https", host)):
            raise Refusal(403, "the request comes from another site.")
        is_page = scope["method"] in ("GET", "HEAD") and scope["path"] in WITHOUT_TOKEN
        if headers["sec-fetch-site"] in ("cross-site", "same-site") and not is_page:
            raise Refusal(403, "the request comes from another site.")
        if self.token is not None and not is_page and not self._is_known(headers["authorization"]):
            challenge = {"www-authenticate": "Bearer"}
            raise Refusal(401, "a token is needed, as in `Authorization: Bearer TOKEN`.", headers=challenge)

    def _is_ours(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        name = (match[1] or match[2]) if match else ""
        try:
            # An address is never resolved, so no name of an attacker can stand for it.
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in (*LOCAL_NAMES, *self.names)
        return address.is_loopback or not self.is_loopback

    def _is_known(self, authorization: str) -> bool:
        kind, _, token = authorization.partition(" ")
        is_equal = hmac.compare_digest(token.strip().encode("latin-1"), (self.token or "").encode())
        return is_equal and kind.lower() == "bearer"


def _single(headers: list[tuple[bytes, bytes]], *names: str) -> dict[str, str]:
    """These headers, "" for one that is missing; `Refusal` for one that is there twice."""
    found = dict.fromkeys(names, "")
    for key, value in headers:
        name = key.decode("latin-1")
        if name in found:
            if found[name]:
                raise Refusal(400, f"the header {name} is there more than once.")
            found[name] = value.decode("latin-1")
    return found


@dataclass(kw_only=True)
class Guard:
    """The service as a server calls it (ASGI)."""

    app: ASGIApp
    access: Access
    measures: Measures
    working: int = 0
    in_hand: int = 0
    bytes_held: int = 0

    @property
    def is_full(self) -> bool:
        """Whether any request for the model is refused now."""
        return self.working >= WORK_AT_ONCE

    def refusal(self, *, is_last: bool = False) -> bytes:
        """The answer to a request for the model that is not even parsed, as it goes over the wire.

        `is_last` says that the connection is closed behind it.
        """
        self.measures.answered("other", "503", 0.0)
        return _refusal(is_last).replace(_NO_ID, uuid.uuid4().hex[:16].encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        reply = Reply(scope, send, self.measures)
        try:
            self.access.check(scope)
            with self._counted():
                await self._take(scope, receive, reply)
        except Refusal as refusal:
            await reply.refuse(refusal, is_last=_is_unread(scope))
        except ConnectionAbortedError:
            reply.count("gone")

    async def _take(self, scope: Scope, receive: Receive, reply: "Reply") -> None:
        """Read the body, and have it answered; a slow body takes nobody's turn at the model."""
        is_work = scope["method"] == "POST"
        parts: list[bytes] = []
        try:
            self._refuse_work(is_work)
            await self._receive(scope, receive, parts)
            self._refuse_work(is_work)
            self.working += is_work
            try:
                await self._answer(scope, b"".join(parts), receive, reply)
            finally:
                self.working -= is_work
        finally:
            self.bytes_held -= sum(map(len, parts))

    def _refuse_work(self, is_work: bool) -> None:
        if is_work and self.is_full:
            raise _too_many()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self.in_hand >= ALL_AT_ONCE:
            raise _too_many()
        self.in_hand += 1
        self.measures.in_hand.set(self.in_hand)
        try:
            yield
        finally:
            self.in_hand -= 1
            self.measures.in_hand.set(self.in_hand)

    async def _answer(self, scope: Scope, body: bytes, receive: Receive, reply: "Reply") -> None:
        """Run the application until it has answered; ended when the caller goes away, or time is up."""
        scope["request_id"] = reply.request_id
        work, gone = asyncio.current_task(), asyncio.ensure_future(receive())
        assert work is not None

        def end(_: object) -> None:
            # The server says that a caller is gone after a whole answer, too.
            if not reply.is_complete:
                work.cancel()

        gone.add_done_callback(end)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self.app(scope, _replay(body), reply.send)
        except TimeoutError as error:
            raise Refusal.busy(f"no answer within {ANSWER_SECONDS:.0f} s; try again.") from error
        except asyncio.CancelledError as error:
            if gone.cancelled() or not gone.done():
                raise
            work.uncancel()
            raise ConnectionAbortedError from error
        finally:
            gone.remove_done_callback(end)
            gone.cancel()

    async def _receive(self, scope: Scope, receive: Receive, parts: list[bytes]) -> None:
        """The whole body, counted in `bytes_held`; `Refusal` where it is too large, 413, or too slow, 408."""
        too_large = Refusal(413, f"the body is larger than {MAX_BODY >> 20} MiB.")
        if _number(_lengths(scope).get(b"content-length", b"0")) > MAX_BODY:
            raise too_large
        left, has_more = MAX_BODY, True
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while has_more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ConnectionAbortedError
                    parts.append(message.get("body", b""))
                    has_more = message.get("more_body", False)
                    left -= len(parts[-1])
                    self.bytes_held += len(parts[-1])
                    if left < 0:
                        raise too_large
                    if self.bytes_held > ALL_BYTES:
                        raise Refusal.busy("too many large requests at once; try again.")
        except TimeoutError as error:
            late = f"the body did not arrive within {BODY_SECONDS:.0f} s."
            raise Refusal(408, late, headers={"connection": "close"}) from error


@cache
def _refusal(is_last: bool) -> bytes:
    """What `Guard.refusal` gives, with `_NO_ID` for the number of the request."""
    refusal, request_id = _too_many(), _NO_ID.decode()
    body = refusal.body(request_id)
    headers = {**refusal.headers, **HEADERS, "x-request-id": request_id, "content-length": str(len(body))}
    headers |= {"connection": "close"} if is_last else {}
    lines = [f"HTTP/1.1 {refusal.status} Service Unavailable", *map(": ".join, headers.items()), "", ""]
    return "\r\n".join(lines).encode("ascii") + body


def _too_many() -> Refusal:
    return Refusal.busy("too many requests at once; try again.")


def _is_unread(scope: Scope) -> bool:
    """Whether a body may be coming that is too large to be thrown away."""
    headers = _lengths(scope)
    return b"transfer-encoding" in headers or _number(headers.get(b"content-length", b"0")) > IGNORED_BYTES


def _lengths(scope: Scope) -> dict[bytes, bytes]:
    return {key: value for key, value in scope["headers"] if key in (b"transfer-encoding", b"content-length")}


def _number(digits: bytes) -> int:
    return int(digits) if digits.isdigit() and len(digits) < 16 else MAX_BODY + 1


def _replay(body: bytes) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        # The guard watches for the end of the connection.
        await asyncio.Event().wait()
        raise AssertionError

    return receive


class Reply:
    """One answer on its way: it gets the headers of every answer, and is counted once."""

    def __init__(self, scope: Scope, send: Send, measures: Measures):
        self.request_id = uuid.uuid4().hex[:16]
        self.is_complete = False
        self._scope, self._send, self._measures = scope, send, measures
        self._started = measures.clock()
        self._is_begun = False

    async def send(self, message: Message) -> None:
        """Hand a message of the application on."""
        if message["type"] == "http.response.start":
            self._is_begun = True
            given = message.get("headers", [])
            names = {key.lower() for key, _ in given}
            extra = [pair for pair in _RAW_HEADERS if pair[0] not in names]
            message = {**message, "headers": [*given, *extra, (b"x-request-id", self.request_id.encode())]}
            self.count(str(message["status"]))
        self.is_complete |= message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._send(message)

    async def refuse(self, refusal: Refusal, *, is_last: bool) -> None:
        """Answer with an error; after the last one the connection is closed, so that no more of it is read."""
        if self._is_begun:
            return
        body = refusal.body(self.request_id)
        headers = {**refusal.headers, "content-length": str(len(body))} | ({"connection": "close"} if is_last else {})
        raw: Any = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})

    def count(self, status: str) -> None:
        """Count the request by its route and status."""
        route = getattr(self._scope.get("route"), "path", "other")
        self._measures.answered(route, status, self._measures.clock() - self._started)

"""One URL to bytes: the only file of curation that opens a connection.

Every hop of a redirect is parsed, resolved and checked as the first URL was. The deadline is for all of it together;
headers, body and what a packed body unpacks to are bounded. No proxy, no cookies, no credentials. The protocol is
h11's, which refuses contradictory lengths and half answers.
"""

import re
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from tempfile import SpooledTemporaryFile, gettempdir
from typing import Any
from urllib.parse import urljoin

from seesay.base.extras import package
from seesay.base.publish import storage_errors
from seesay.base.version import __version__
from seesay.curation.addresses import Address, FetchError, Resolver, Target, networks, parse_url
from seesay.curation.settings import FetchSettings

USER_AGENT = f"seesay/{__version__}"
# Bytes of all headers together, and of one read; guesses, as is how much larger than itself a packed body may become.
MOST_HEADER_BYTES, READ_BYTES, MOST_RATIO = 64 << 10, 64 << 10, 100
# Bytes of a body that stay in memory until it is its turn to be decoded; a guess: a thumbnail is smaller.
SPOOLED_BYTES = 256 << 10
# Seconds for a connection, to all addresses of a host together: a guess. What was lost on the way is sent again after 1
# and 3 s.
CONNECT_SECONDS = 5.0
# Seconds before the rate is looked at, a guess: the first answers of a server come slowly.
PATIENCE = 2.0
REDIRECTS = (301, 302, 303, 307, 308)
# Of RFC 9110: too many requests, and unavailable.
LATER = (429, 503)
# What img2dataset obeys too.
ROBOT_WORDS = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
# Words that have a value behind a colon, as the name of a robot has its words (Google's list).
VALUED_WORDS = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
ROBOT_NAME, OUR_NAMES = re.compile(r"[^\s/]+(/\S+)?"), frozenset({"*", "seesay"})
# No server was there, as far as we know.
NO_CONNECTION = frozenset({"name not found", "name not resolved in time", "no connection in time", "connection failed"})
# Reasons that say nothing of the URL where the network is gone.
UNREACHABLE = NO_CONNECTION | {"deadline"}


@dataclass(kw_only=True)
class Progress:
    """How far a try has come: when it began, whether a server took the connection, and whether its answer began.

    `is_reached` is of any server, `is_connected` of the one that is asked now, to which a redirect may have led.
    """

    since: float = field(default_factory=time.monotonic)
    is_reached: bool = False
    is_connected: bool = False
    is_answered: bool = False


@dataclass(kw_only=True)
class Downloader:
    """Gets URLs as the settings say; may be used by many threads."""

    settings: FetchSettings
    lookup: Callable[[str], list[str]] | None = None
    context: ssl.SSLContext = field(default_factory=lambda: trusted())

    def __post_init__(self) -> None:
        self._h11 = package("h11", extra="curate")
        self._resolver = Resolver(
            ports=self.settings.ports,
            allowed=networks(self.settings.allow_private),
            deadline=self.settings.resolve_deadline,
            lookup=self.lookup,
        )

    def get(self, url: str) -> bytes:
        """The body of an answer of 200; `FetchError` for anything else."""
        with self.ask(url) as body:
            return body.read()

    def ask(self, url: str, progress: Progress | None = None) -> "Body":
        """The body of an answer of 200, all of it here; `FetchError` for anything else. What comes is noted in
        `progress`.
        """
        progress = progress or Progress()
        end = time.monotonic() + self.settings.deadline
        for _ in range(self.settings.redirects + 1):
            target = parse_url(url)
            answer = self._ask(target, self._resolver.addresses(target, seconds=_left(end)), end, progress)
            if isinstance(answer, Body):
                return answer
            try:
                url = urljoin(url, answer)
            except ValueError as error:
                raise FetchError("bad URL") from error
        raise FetchError("too many redirects")

    def _ask(self, target: Target, addresses: list[Address], end: float, progress: Progress) -> "Body | str":
        """The body, or where a redirect leads."""
        progress.is_connected = False
        with _as_fetch_errors(self._h11), self._connected(target, addresses, end) as connection:
            progress.is_reached = progress.is_connected = True
            protocol = self._h11.Connection(self._h11.CLIENT, max_incomplete_event_size=MOST_HEADER_BYTES)
            request = self._h11.Request(method="GET", target=target.path, headers=_headers(target))
            connection.settimeout(_left(end))
            connection.sendall(protocol.send(request) + protocol.send(self._h11.EndOfMessage()))
            events = self._events(connection, protocol, end)
            answer = next(event for event in events if type(event) is self._h11.Response)
            headers = _Headers(answer.headers)
            if answer.status_code in REDIRECTS:
                if (location := headers.one("location")) is None:
                    raise FetchError("redirect to nowhere")
                return location
            _refuse_answer(answer.status_code, headers, self.settings)
            progress.is_answered = True
            return self._body(events, headers, end)

    @contextmanager
    def _connected(self, target: Target, addresses: list[Address], end: float) -> Iterator[socket.socket]:
        """A connection, with TLS for https."""
        with _connection(addresses, target.port, end) as raw:
            if target.scheme == "http":
                yield raw
                return
            raw.settimeout(_left(end))
            with self.context.wrap_socket(raw, server_hostname=target.host) as secure:
                yield secure

    def _events(self, connection: socket.socket, protocol: Any, end: float) -> Iterator[Any]:
        """What the answer is made of, as it comes."""
        while True:
            event = protocol.next_event()
            if event is self._h11.NEED_DATA:
                connection.settimeout(_left(end))
                protocol.receive_data(connection.recv(READ_BYTES))
                continue
            yield event
            if type(event) in (self._h11.EndOfMessage, self._h11.ConnectionClosed):
                return

    def _body(self, events: Iterator[Any], headers: "_Headers", end: float) -> "Body":
        most, count = self.settings.most_bytes, 0
        length = headers.one("content-length")
        if length is not None and int(length) > most:
            raise FetchError("too many bytes")
        started = time.monotonic()
        with ExitStack() as stack:
            body = stack.enter_context(Body(headers.one("content-encoding") or "identity", most))
            for event in events:
                if type(event) is not self._h11.Data:
                    continue
                count += len(event.data)
                if count > most:
                    raise FetchError("too many bytes")
                # A full disk here is not the server's fault.
                with storage_errors(Path(gettempdir())):
                    body.file.write(event.data)
                seconds = time.monotonic() - started
                if seconds > PATIENCE and count < self.settings.least_rate * seconds:
                    raise FetchError("too slow")
            _left(end)
            stack.pop_all()
        return body


def _connection(addresses: list[Address], port: int, end: float) -> socket.socket:
    """A connection to the first address that takes one."""
    limit = min(end, time.monotonic() + CONNECT_SECONDS)
    failure: OSError = TimeoutError()
    for number, address in enumerate(addresses):
        if (seconds := limit - time.monotonic()) <= 0:
            break
        raw = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
        try:
            # Of what is left each address has its share: one that never answers leaves time for the next.
            raw.settimeout(seconds / (len(addresses) - number))
            raw.connect((str(address), port))
            return raw
        except OSError as error:
            raw.close()
            failure = error
    if isinstance(failure, TimeoutError):
        raise FetchError("no connection in time", may_retry=True) from failure
    raise failure


class Body:
    """A body that has come: in memory, or where it is large in a file without a name, until it is read."""

    def __init__(self, encoding: str, most: int):
        self.file = SpooledTemporaryFile(max_size=SPOOLED_BYTES)  # noqa: SIM115 - closed where this is left
        self._encoding = encoding
        self._most = most

    def __enter__(self) -> "Body":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def read(self) -> bytes:
        """All of it, unpacked where it is packed; `FetchError` beyond the limits."""
        self.file.seek(0)
        return unpacked(self.file.read(), self._encoding, self._most)


@cache
def trusted() -> ssl.SSLContext:
    """TLS with the certificates that the system trusts, which takes a moment to read."""
    return ssl.create_default_context()


def unpacked(data: bytes, encoding: str, most: int) -> bytes:
    """A body as it was before a server packed it, although it was not asked to; `FetchError` beyond the limits."""
    encoding = encoding.strip().lower()
    if encoding in ("identity", ""):
        return data
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise FetchError("unknown encoding")
    limit = min(most, MOST_RATIO * len(data))
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32 if "gzip" in encoding else zlib.MAX_WBITS)
    try:
        result = unpacker.decompress(data, limit + 1)
    except zlib.error as error:
        raise FetchError("damaged encoding") from error
    if len(result) > limit:
        raise FetchError("too many bytes")
    if not unpacker.eof:
        raise FetchError("damaged encoding")
    return result


def forbids_robots(values: list[str]) -> bool:
    """Whether an X-Robots-Tag asks all robots, or all of ours, to leave an image alone."""
    for value in values:
        # What stands behind the name of a robot is for that one, up to the next name.
        is_ours = True
        for part in value.split(","):
            name, colon, rest = (each.strip().lower() for each in part.partition(":"))
            if colon and ROBOT_NAME.fullmatch(name) and name not in ROBOT_WORDS | VALUED_WORDS:
                is_ours, name = name in OUR_NAMES, rest
            if is_ours and name in ROBOT_WORDS:
                return True
    return False


class _Headers:
    def __init__(self, pairs: Any):
        self._pairs = [(name.decode("latin-1").lower(), _text(value)) for name, value in pairs]

    def all(self, name: str) -> list[str]:
        return [value for own, value in self._pairs if own == name]

    def one(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)


def _text(value: bytes) -> str:
    """A value as browsers read it: UTF-8 where it is that, or a byte a letter."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _headers(target: Target) -> list[tuple[str, str]]:
    return [
        ("Host", target.host_header),
        ("User-Agent", USER_AGENT),
        ("Accept", "image/*"),
        ("Accept-Encoding", "identity"),
        ("Connection", "close"),
    ]


def _refuse_answer(status: int, headers: _Headers, settings: FetchSettings) -> None:
    if status in LATER:
        wait = seconds_of(headers.one("retry-after") or "")
        raise FetchError(f"HTTP {status}", may_retry=True, wait=None if wait is None else min(wait, settings.most_wait))
    if status != 200:
        raise FetchError(f"HTTP {status}", may_retry=status >= 500)
    if settings.obey_robots and forbids_robots(headers.all("x-robots-tag")):
        raise FetchError("forbidden by X-Robots-Tag")


def seconds_of(text: str) -> float | None:
    """What Retry-After asks to wait: seconds or a date (RFC 9110, 10.2.3); None for anything else."""
    text = text.strip()
    if text.isascii() and text.isdecimal() and len(text) < 12:
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return max(0.0, moment.timestamp() - time.time()) if moment.tzinfo is not None else None


def _left(end: float) -> float:
    """Seconds to the deadline, which must not have come."""
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise FetchError("deadline")
    return seconds


@contextmanager
def _as_fetch_errors(h11: Any) -> Iterator[None]:
    """What goes wrong between us and a server, as reasons."""
    try:
        yield
    except h11.RemoteProtocolError as error:
        raise FetchError("not proper HTTP", may_retry=True) from error
    except h11.LocalProtocolError as error:
        raise FetchError("bad URL") from error
    except ssl.SSLCertVerificationError as error:
        raise FetchError("bad certificate") from error
    except TimeoutError as error:
        raise FetchError("deadline") from error
    except ssl.SSLError as error:
        raise FetchError("TLS failed", may_retry=True) from error
    except StopIteration as error:
        raise FetchError("not proper HTTP", may_retry=True) from error
    except OSError as error:
        raise FetchError("connection failed", may_retry=True) from error

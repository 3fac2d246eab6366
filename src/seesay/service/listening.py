"""The one file that listens: a socket, uvicorn on it, its deadlines, and how it ends.

Ctrl-C is a `KeyboardInterrupt` once the requests in hand are answered, SIGTERM an ordinary end.
"""

import asyncio
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from seesay.base.errors import SeesayError, UsageError
from seesay.service.guard import IGNORED_BYTES, Guard
from seesay.service.refusals import BUSY
from seesay.service.unparsed import length_of

# Guesses, all. Seconds: for the headers of a request, between requests, for an answer to be taken, and for those in
# hand when the service ends.
HEADER_SECONDS, IDLE_SECONDS, TAKING_SECONDS, LAST_SECONDS = 10.0, 5, 30.0, 10
# Bytes of all headers of a request, and connections at once, below the 1,024 files that a process may open.
HEADER_BYTES, CONNECTIONS = 16 << 10, 512
# How a request for the model begins.
WORK = b"POST "
# Guesses: how many connections may wait to be accepted; how many are accepted, or refused, before others have a turn,
# and how many become the event loop's in each pause while the service is full; and seconds of such a pause.
WAITING, AT_ONCE, PAUSE_SECONDS = 2048, 8, 0.1


class Listener(socket.socket):
    """A socket on which connections are accepted; by its `guard`, once it has one, some are refused at once.

    To make a connection the event loop's takes several times what its refusal takes. Where they come faster than that,
    nobody was answered in time (benchmarks/2026-11-29-serve).
    """

    guard: Guard | None = None
    _since = 0.0
    _taken = 0

    def accept(self) -> tuple[socket.socket, Any]:
        """A connection that was not refused; `BlockingIOError` if there is none, or to let the others have a turn."""
        for _ in range(AT_ONCE):
            connection, address = super().accept()
            if self.guard is None or not self.guard.is_full or not self._refuse(connection, self.guard):
                return connection, address
        raise BlockingIOError

    def _refuse(self, connection: socket.socket, guard: Guard) -> bool:
        """Answer, and close, a connection whose whole request for the model is there."""
        now = time.monotonic()
        if now - self._since > PAUSE_SECONDS:
            self._since, self._taken = now, 0
        self._taken += 1
        if self._taken <= AT_ONCE:  # may be kept for further requests
            return False
        connection.setblocking(False)
        try:
            data = connection.recv(HEADER_BYTES, socket.MSG_PEEK)
            if not data.startswith(WORK) or length_of(data, 0, most=HEADER_BYTES, may_close=True) != len(data):
                return False
            connection.recv(len(data))  # else closing it would take back the answer
            connection.send(guard.refusal(is_last=True))
            connection.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return False  # nothing has come yet
        except OSError:
            pass  # the caller is gone
        connection.close()
        return True


def bind(host: str, port: int) -> Listener:
    """A socket on which nobody can call yet; `UsageError` for an address that is none, `SeesayError` for one in use."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError, OverflowError) as error:
        raise UsageError(f"--host {host!r} is no address of this machine; 127.0.0.1 is its own.") from error
    listener = Listener(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise SeesayError(f"port {port} of {host} cannot be used ({error.strerror}); try another --port.") from error
    return listener


def server_of(app: Guard, *, on_start: Callable[[], None] = lambda: None) -> "Server":
    """What answers, with `run(sockets=[...])`, until the process is told to end; `KeyboardInterrupt` at Ctrl-C.

    `on_start` is called when anybody can call.
    """
    config = uvicorn.Config(
        app,
        http=DeadlineProtocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=LAST_SECONDS,
        h11_max_incomplete_event_size=HEADER_BYTES,
        backlog=AT_ONCE,
    )
    # What they say of requests that are none would let a stranger fill the log.
    for name in ("uvicorn.error", "python_multipart"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return Server(config, on_start)


class Server(uvicorn.Server):
    """uvicorn's, whose end is one of this program's."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None]):
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        for listener in sockets or ():
            # As many wait as before, though fewer are accepted at once.
            listener.listen(WAITING)
            if isinstance(listener, Listener):
                listener.guard = cast(Guard, self.config.app)
        self._on_start()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Inside, Ctrl-C and SIGTERM let the requests in hand be answered."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if signal.SIGINT in self._captured_signals:
            raise KeyboardInterrupt


class DeadlineProtocol(H11Protocol):
    """A connection whose headers must come in time, and whose answers must be taken in time."""

    _deadline: asyncio.TimerHandle | None = None
    # Of requests that were refused unparsed: whether it was the last of the connection, bytes that are to come, and
    # when the connection became free.
    _is_refused = False
    _unread = 0
    _free_since = 0.0

    @property
    def _guard(self) -> Guard:
        return cast(Guard, self.config.app)

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for headers; beyond `CONNECTIONS` at once every answer is 503."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            self.app = _busy
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Read on; however many pieces the headers come in, their time is one."""
        if not self._is_refused:  # else it is read, so that the end of the connection does not come before the answer
            start = self._refuse_unparsed(data) if self._unread or self._refuses(data, 0) else 0
            if start < len(data):
                self._parse(data[start:] if start else data)

    def _parse(self, data: bytes) -> None:
        super().data_received(data)
        # What comes behind an answer, of a body that was refused, has the same time as headers.
        if self.cycle is None or self.cycle.response_complete:
            self._arm()
        else:
            self._disarm()

    def _refuses(self, data: bytes, start: int) -> bool:
        """Whether a request for the model begins there, and is refused whatever it says."""
        return (
            data.startswith(WORK, start)
            and (self._guard.is_full or self.app is _busy)
            # Nothing is in hand, and no part of a request is waiting.
            and self.conn.our_state is self.conn.their_state is h11.IDLE
            and not self.conn.trailing_data[0]
        )

    def _refuse_unparsed(self, data: bytes) -> int:
        """Answer what is refused, and read it away; where in `data` the rest begins.

        The connection stays open after a request whose end is plain to see, as under a load of many times what can be
        answered a new one costs more than its refusal.
        """
        start = min(self._unread, len(data))
        self._unread -= start
        while start < len(data) and self._refuses(data, start):
            length = length_of(data, start, most=HEADER_BYTES)
            missing = 0 if length is None else max(0, start + length - len(data))
            # Nor is it kept for a caller who does not take its answers.
            if length is None or missing > IGNORED_BYTES or self.app is _busy or self.flow.write_paused:
                self._refuse_last()
                return len(data)
            self.transport.write(self._guard.refusal())
            start, self._unread = start + length - missing, missing
        self._wait_for_more()
        return start

    def _refuse_last(self) -> None:
        self._is_refused = True
        self._unset_keepalive_if_required()
        self._arm()
        self.transport.write(self._guard.refusal(is_last=True))
        self.transport.write_eof()

    def _wait_for_more(self) -> None:
        """For the rest of a body as long as for headers, for another request as long as after an answer."""
        if self._unread:
            self._unset_keepalive_if_required()
            self._arm()
            return
        self._disarm()
        self._free_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            # One timer for many refusals: what it does waits until the last of them is long enough ago.
            self.timeout_keep_alive_task = self.loop.call_later(IDLE_SECONDS, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._disarm()
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        """Close; where the last answer has not been taken yet, it still may be for some seconds."""
        if (left := self._free_since + IDLE_SECONDS - self.loop.time()) > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
            return
        super().timeout_keep_alive_handler()
        self.loop.call_later(TAKING_SECONDS, self.transport.abort)

    def _arm(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


async def _busy(scope: Any, receive: Any, send: Any) -> None:
    """In the place of the service, where too many connections are open: 503, and when to come again."""
    headers = [(name.encode(), value.encode()) for name, value in BUSY.items()]
    headers += [(b"connection", b"close"), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body"})

"""Requests refused without being parsed: their ends are found as h11 finds them, and their connections stay of use."""

import contextlib
import random
import socket
import time
from types import SimpleNamespace

import pytest
from patience import PATIENCE

pytest.importorskip("h11", reason="the extra `serve` is not installed")

import h11

from seesay.service import guard, listening
from seesay.service.unparsed import length_of

BODY = b'{"texts": ["red"]}'
PLAIN = (
    b"POST /v1/embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 18\r\n\r\n" + BODY
)
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def headed(*lines, body=b""):
    return b"\r\n".join([b"POST /v1/embed HTTP/1.1", b"Host: localhost", *lines, b"", b""]) + body


@pytest.mark.parametrize(
    ("request_bytes", "length"),
    [
        (PLAIN, len(PLAIN)),
        (PLAIN[:-5], len(PLAIN)),  # the rest of the body is to come
        (PLAIN + HEALTH, len(PLAIN)),
        (headed(), len(headed())),
        (
            headed(b"CONNECTION: Keep-Alive", b"content-length:3"),
            len(headed(b"CONNECTION: Keep-Alive", b"content-length:3")) + 3,
        ),
        (PLAIN[:40], None),
        (PLAIN.replace(b"1.1", b"1.0"), None),
        (headed(b"Connection: close"), None),
        (headed(b"Expect: 100-continue", b"Content-Length: 3"), None),
        (headed(b"Transfer-Encoding: chunked"), None),
        (headed(b"Transfer-Encoding: chunked", b"Content-Length: 3"), None),
        (headed(b"Content-Length: 3", b"Content-Length: 4"), None),
        (headed(b"Content-Length: 3, 3"), None),
        (headed(b"Content-Length: +3"), None),
        (headed(b"Content-Length : 3"), None),
        (headed(b"X: y", b" Content-Length: 3"), None),
        (headed(b"X: y\nContent-Length: 3"), None),
        (headed(b"X: " + b"y" * 20_000), None),
    ],
)
def test_the_end_of_a_plain_request_is_found_and_of_no_other(request_bytes, length):
    assert length_of(b"??" + request_bytes, 2, most=listening.HEADER_BYTES) == length


def test_one_that_may_close_its_connection_is_found_too():
    closing = headed(b"Connection: close", b"Content-Length: 2", body=b"{}")
    assert length_of(closing, 0, most=1000) is None
    assert length_of(closing, 0, most=1000, may_close=True) == len(closing)
    assert length_of(headed(b"Connection: upgrade"), 0, most=1000, may_close=True) is None


@pytest.fixture
def crowded():
    """A listener of a service that is full, with as many connections in this tenth of a second as it keeps."""
    with listening.bind("127.0.0.1", 0) as listener:
        listener.setblocking(False)
        listener.listen()
        listener.guard = SimpleNamespace(is_full=True, refusal=lambda *, is_last: b"503" if is_last else b"")
        listener._since, listener._taken = time.monotonic() + 3600, listening.AT_ONCE
        yield listener


@pytest.mark.parametrize("request_bytes", [PLAIN, headed(b"Connection: close")], ids=["kept", "closed"])
def test_a_whole_request_is_refused_before_its_connection_is_the_event_loops(crowded, request_bytes):
    with socket.create_connection(crowded.getsockname(), timeout=PATIENCE) as caller:
        caller.sendall(request_bytes)
        with pytest.raises(BlockingIOError):
            crowded.accept()
        assert caller.recv(100) == b"503"
        assert caller.recv(100) == b""


@pytest.mark.parametrize("said", [b"", PLAIN[:-1], PLAIN[:30], HEALTH, PLAIN + HEALTH], ids=len)
def test_any_other_connection_is_the_event_loops_with_all_that_it_said(crowded, said):
    with socket.create_connection(crowded.getsockname(), timeout=PATIENCE) as caller:
        caller.sendall(said)
        connection, _ = crowded.accept()
        with connection:
            assert not said or connection.recv(1000) == said


def test_a_service_that_is_not_full_takes_every_connection(crowded):
    crowded.guard.is_full = False
    with socket.create_connection(crowded.getsockname(), timeout=PATIENCE) as caller:
        caller.sendall(PLAIN)
        crowded.accept()[0].close()


def test_where_a_request_ends_unparsed_it_ends_for_h11_too():
    rng, agreed = random.Random(16), 0
    parts = [
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b":",
        b",",
        b"9",
        b"Content-Length: 9\r\n",
        b"Transfer-Encoding: chunked\r\n",
    ]
    parts += [b"Host: x\r\n", b"Connection: close\r\n", b"\t", b"\xff", b"X: y\r\n"]
    for _ in range(4000):
        data = bytearray(PLAIN)
        for _ in range(rng.choice((1, 1, 2, 3))):
            at = rng.randrange(len(PLAIN) - len(BODY))
            data[at : at + rng.randrange(3)] = rng.choice(parts)
        length = length_of(bytes(data), 0, most=listening.HEADER_BYTES)
        if length is None or (lengths := bytes_for_h11(bytes(data), length)) is None:
            continue
        assert lengths == length, data
        agreed += 1
    assert agreed > 300


def bytes_for_h11(data, length):
    """Where the request ends for h11; None for one that it refuses."""
    reader = h11.Connection(h11.SERVER)
    data = data[:length].ljust(length, b"x") + b"NEXT"
    reader.receive_data(data)
    try:
        assert isinstance(reader.next_event(), h11.Request)
        while isinstance(reader.next_event(), h11.Data):
            pass
    except h11.RemoteProtocolError:
        return None
    assert reader.their_state is h11.DONE and not reader.they_are_waiting_for_100_continue
    return len(data) - len(reader.trailing_data[0])


class Line:
    """A connection, and the answers on it one by one."""

    def __init__(self, client):
        self.socket = socket.create_connection(("127.0.0.1", client.port), timeout=PATIENCE)
        self.reader = h11.Connection(h11.CLIENT)

    def answers(self, count):
        """Statuses of the next answers, after as many requests."""
        return [self.answer() for _ in range(count)]

    def answer(self):
        self.reader.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
        self.reader.send(h11.EndOfMessage())
        status, is_last = None, False
        while not isinstance(event := self.reader.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                self.reader.receive_data(self.socket.recv(1 << 16))
            elif isinstance(event, h11.Response):
                status, headers = event.status_code, dict(event.headers)
                is_last = headers.get(b"connection") == b"close"
                assert status != 503 or headers[b"retry-after"] == b"1"
        if not is_last:
            self.reader.start_next_cycle()
        return status


@pytest.fixture
def full(client, monkeypatch):
    """A service that has all the requests in hand that it takes, and the way back."""
    monkeypatch.setattr(guard, "WORK_AT_ONCE", 0)
    return client, lambda: monkeypatch.setattr(guard, "WORK_AT_ONCE", 4)


@pytest.fixture
def connect(client):
    """Connections, closed at the end."""
    lines = []
    yield lambda: lines.append(Line(client)) or lines[-1]
    for line in lines:
        line.socket.close()


@pytest.mark.journey
def test_a_connection_is_of_use_after_a_request_that_was_refused_unparsed(full, connect):
    client, relieve = full
    line = connect()
    line.socket.sendall(PLAIN)
    assert line.answers(1) == [503]
    line.socket.sendall(PLAIN + HEALTH + PLAIN + PLAIN + HEALTH)
    assert line.answers(5) == [503, 200, 503, 503, 200], "in their order, though some are parsed and some are not"
    line.socket.sendall(PLAIN[:-10])
    assert line.answers(1) == [503], "before its body is there"
    for byte in PLAIN[-10:] + HEALTH:
        line.socket.sendall(bytes([byte]))
    assert line.answers(1) == [200], "what was left of the body is not taken for a request"
    relieve()
    line.socket.sendall(PLAIN)
    assert line.answers(1) == [200]
    assert 'status="503"} 5.0' in client("GET", "/metrics").body.decode()


@pytest.mark.journey
@pytest.mark.parametrize(
    "request_bytes",
    [
        headed(b"Connection: close", b"Content-Length: 18", body=BODY),
        headed(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n"),
        headed(b"Content-Length: 9000000"),
        headed(b"Content-Length: 3", b"Content-Length: 4", body=b"abcd"),
    ],
)
def test_a_request_whose_end_is_not_plain_is_the_last_of_its_connection(full, request_bytes):
    client, _ = full
    answer = client.raw(PLAIN + request_bytes + HEALTH)
    assert answer.count(b"HTTP/1.1 503") == 2 and answer.count(b"connection: close") == 1 and b" 200 " not in answer


@pytest.mark.journey
def test_a_refused_caller_who_says_no_more_or_takes_no_answers_holds_no_connection(full, connect, monkeypatch):
    monkeypatch.setattr(listening, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(listening, "HEADER_SECONDS", 0.3)
    for sent in (PLAIN, PLAIN[:-5]):
        line = connect()
        line.socket.sendall(sent)
        assert line.answers(1) == [503]
        with contextlib.suppress(ConnectionError):
            assert line.socket.recv(1) == b""
    deaf, until = connect(), time.monotonic() + PATIENCE
    with pytest.raises(OSError, match=r"reset|pipe"):
        while time.monotonic() < until:
            deaf.socket.sendall(PLAIN * 100)

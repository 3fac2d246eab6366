"""What strangers send: other sites, hosts and paths, bodies that are too large, too slow or nothing, and too many."""

import base64
import http.client
import json
import socket
import struct
import threading
import time
import zlib

import pytest
from patience import PATIENCE

from seesay.service import guard, listening
from seesay.service.forms import MAX_BODY

TOKEN = "a-token-of-enough-letters"
WORDS = json.dumps({"texts": ["red"]})
STEPS = ["..", "%2e%2e", "%2e.", "..%00", "%252e%252e", "..%5c", "....", ".%2e"]
ENDS = ["%2f", "/", "//", "%5c", "%252f"]
PATHS = [
    f"{start}{(step + end) * depth}etc/passwd"
    for start in ("/", "/v1/thumbnails/", "/page/", "/static/", "/v1/thumbnails//")
    for step in STEPS
    for end in ENDS
    for depth in (8,)
] + [
    "//etc/passwd",
    "/file:///etc/passwd",
    "/page.js/../../serve.py",
    "/style.css%00.py",
    "/v1/thumbnails/1/../../serve.py",
]
HOSTS = [
    *("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "0.0.0.0", "10.0.0.1"),
    *("127.0.0.1@evil.example", "[::]", "[fe80::1]", "2130706433", "0x7f000001", "127.1", "127.0.0.1:99999999", "a b"),
    *("ⅼocalhost".encode().decode("latin-1"), "localhost\t.evil", "169.254.169.254", "[::ffff:10.0.0.1]"),
]
ORIGINS = [
    "http://evil.example",
    "null",
    "http://127.0.0.1",
    "http://localhost:1",
    "https://evil.example",
    "file://",
    "x",
]


@pytest.mark.journey
def test_no_path_leads_out_of_the_page(client, tmp_path):
    assert len(PATHS) > 200
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=PATIENCE)
    for path in PATHS:
        connection.putrequest("GET", path, skip_host=False)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status in (404, 422) and b"root:" not in body and b"import" not in body, path
    connection.close()


@pytest.mark.journey
@pytest.mark.parametrize("host", HOSTS)
def test_another_host_is_not_answered(client, host):
    """DNS rebinding: a name of an attacker that resolves to this machine."""
    for method, path in (("GET", "/"), ("GET", "/healthz"), ("POST", "/v1/embed")):
        assert client(method, path, Host=host).status in (400, 403)


@pytest.mark.journey
def test_a_host_that_is_missing_or_doubled_is_not_answered(client):
    assert client.raw(b"GET / HTTP/1.0\r\n\r\n").split()[1] == b"400"
    doubled = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert client.raw(doubled).split()[1] == b"400"


@pytest.mark.journey
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:8000", "LOCALHOST:80", "127.8.8.8"])
def test_names_of_this_machine_are_answered(client, host):
    assert client("GET", "/healthz", Host=host).status == 200


@pytest.mark.journey
@pytest.mark.parametrize("origin", ORIGINS)
def test_another_site_can_neither_ask_nor_read(client, origin):
    for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
        answer = client("POST", "/v1/embed", WORDS, Origin=origin, content_type=kind)
        assert answer.status == 403 and "access-control-allow-origin" not in answer.headers
    preflight = client("OPTIONS", "/v1/embed", Origin=origin, Access_Control_Request_Method="POST")
    assert preflight.status == 403 and not [name for name in preflight.headers if name.startswith("access-control")]


@pytest.mark.journey
def test_what_a_browser_calls_cross_site_is_the_page_at_most(client):
    for site in ("cross-site", "same-site"):
        assert client("GET", "/v1/thumbnails/1", sec_fetch_site=site).status == 403
        assert client("POST", "/v1/embed", WORDS, sec_fetch_site=site, content_type="application/json").status == 403
        assert client("GET", "/", sec_fetch_site=site).status == 200
    origin = f"http://127.0.0.1:{client.port}"
    answer = client.post("/v1/embed", {"texts": ["red"]}, Origin=origin, sec_fetch_site="same-origin")
    assert answer.status == 200


@pytest.mark.journey
def test_every_answer_tells_the_browser_to_load_nothing_from_elsewhere(client):
    for answer in (
        client("GET", "/"),
        client("GET", "/nowhere"),
        client("POST", "/v1/embed", "{"),
        client("GET", "/metrics"),
    ):
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["x-frame-options"] == "DENY"
        assert "server" not in answer.headers


@pytest.mark.journey
def test_every_route_but_the_page_and_the_probes_needs_the_token(serve_model, colour_model, index):
    client = serve_model(colour_model, index, token=TOKEN, is_loopback=False)
    routes = [("POST", f"/v1/{name}") for name in ("embed", "embeddings", "classify", "search")]
    routes += [("GET", path) for path in ("/v1/thumbnails/1", "/v1/models", "/metrics", "/openapi.json", "/nowhere")]
    wrong = ["", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, "Bearer \xe9"]
    for method, path in routes:
        for words in wrong:
            answer = client(
                method, f"{path}?token={TOKEN}", WORDS, authorization=words, content_type="application/json"
            )
            assert answer.status == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert client(method, path, WORDS, authorization=f"Bearer {TOKEN}").status != 401
    assert [client("GET", path).status for path in guard.WITHOUT_TOKEN] == [200] * len(guard.WITHOUT_TOKEN)


def test_beyond_loopback_addresses_are_answered_and_names_are_not(serve_model, colour_model):
    client = serve_model(colour_model, token=TOKEN, is_loopback=False, names=("attic",))
    statuses = [client("GET", "/healthz", Host=host).status for host in ("10.1.2.3:80", "attic", "evil.example")]
    assert statuses == [200, 200, 403]


@pytest.mark.journey
@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{", 400),
        ("application/json", b"", 400),
        ("application/json", b"\xff\xfe", 400),
        ("application/json", b"[" * 100_000, 413),
        ("application/json", b'{"texts":' * 3000, 400),
        ("application/json", b'{"texts": [' + b"1," * 50_000 + b"1]}", 413),
        ("application/json", b'{"texts": ["\\ud800"]}', 400),
        ("application/json", b'{"texts": [NaN]}', 422),
        ("application/json", b'{"texts": 1e400}', 422),
        ("application/json", b'{"texts": []}', 422),
        ("application/json", b'{"texts": ["a"], "path": "/etc/passwd"}', 422),
        ("application/json", b'{"images": ["/etc/passwd"]}', 422),
        ("application/json", b'{"images": ["aGFsbG8="]}', 422),
        ("application/json", b'"texts"', 422),
        ("text/plain", b'{"texts": ["a"]}', 415),
        ("application/x-www-form-urlencoded", b"texts=a", 415),
        ("multipart/form-data", b"--x", 400),
        ("multipart/form-data; boundary=x", b"--y\r\n\r\n", 400),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n\r\n--x--", 400),
        ("multipart/form-data; boundary=" + "x" * 5000, b"--x--", 400),
    ],
)
def test_bodies_that_are_no_forms_are_refused_in_one_line(client, kind, body, status):
    answer = client("POST", "/v1/embed", body, content_type=kind)
    assert answer.status == status, answer.body
    fault = json.loads(answer.body)["error"]
    assert "\n" not in fault["message"] and "/home" not in fault["message"] and "Traceback" not in fault["message"]


def bomb(side):
    """A PNG of side x side pixels in few bytes."""
    rows = zlib.compress(b"\0" * (side // 8 + 1) * 64)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@pytest.mark.journey
@pytest.mark.parametrize("data", [bomb(60_000), bomb(1_000_000), b"GIF89a", b"", b"\xff\xd8\xff\xe0" * 9, b"<svg/>"])
def test_bombs_and_other_bad_images_are_refused_and_the_next_is_answered(client, data, png):
    assert client.upload("/v1/embed", ("images", data)).status == 422
    assert client.upload("/v1/search", ("image", data)).status == 422
    assert client.upload("/v1/embed", ("images", png())).status == 200


@pytest.mark.journey
def test_too_many_files_fields_and_texts_are_refused(client, png):
    assert client.upload("/v1/embed", *[("images", png())] * 17).status == 400
    assert client.upload("/v1/classify", ("image", png()), ("image", png())).status == 422
    assert client.post("/v1/embed", {"texts": ["a"] * 2049}).status == 422
    assert client.post("/v1/embed", {"texts": ["a" * 8193]}).status == 422
    assert client.post("/v1/search", {"text": "red", "top": 10**30}).status == 422
    labels = [f"label {index}" for index in range(900)]
    asked = {
        "image": base64.b64encode(png()).decode(),
        "labels": labels,
        "templates": [f"{index} {{}}" for index in range(9)],
    }
    assert client.post("/v1/classify", asked).status == 413


@pytest.mark.journey
def test_a_body_that_is_too_large_is_refused_before_it_is_read(client):
    head = b"POST /v1/embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for length in (MAX_BODY + 1, 10**15):
        assert client.raw(head + b"Content-Length: %d\r\n\r\n" % length).split()[1] == b"413"
    assert client.raw(head + b"Content-Length: 1" + b"0" * 30 + b"\r\n\r\n").split()[1] == b"400"


@pytest.mark.journey
def test_a_body_of_unknown_length_is_cut_at_the_limit(client, monkeypatch):
    monkeypatch.setattr(guard, "MAX_BODY", 1 << 16)
    head = b"POST /v1/embed HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", client.port), timeout=PATIENCE) as connection:
        connection.sendall(head)
        sent = 0
        try:
            while sent < 1 << 24:
                connection.sendall(b"2000\r\n" + b" " * 8192 + b"\r\n")
                sent += 8192
        except OSError:
            pass
    assert sent < 1 << 24, "the connection was never closed"


@pytest.mark.journey
@pytest.mark.parametrize(
    "request_line",
    [b"GET", b"GET / HTTP/9.9", b"\x16\x03\x01\x02\x00", b"PRI * HTTP/2.0", b"GET / HTTP/1.1\r\nHost: a\r\n b: c"],
)
def test_what_is_no_request_is_closed(client, request_line):
    assert client.raw(request_line + b"\r\n\r\n")[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 403")
    assert client("GET", "/healthz").status == 200


@pytest.mark.journey
def test_a_refused_caller_that_sends_on_holds_no_connection(client, monkeypatch):
    monkeypatch.setattr(listening, "HEADER_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", client.port), timeout=PATIENCE) as connection:
        connection.sendall(b"POST /v1/embed HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 60000\r\n\r\n")
        assert connection.recv(1 << 16).split()[1] == b"403"
        try:
            connection.sendall(b" ")
            while connection.recv(1 << 16):
                pass  # the rest of the answer; where it is not closed behind that, there is a timeout
        except ConnectionError:
            pass


@pytest.mark.journey
def test_beyond_so_many_connections_others_are_told_when_to_come_again(client, monkeypatch):
    monkeypatch.setattr(listening, "CONNECTIONS", 2)
    held = [socket.create_connection(("127.0.0.1", client.port), timeout=PATIENCE) for _ in range(2)]
    try:
        for connection in held:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(1 << 16).split()[1] == b"200"
        answer = client("GET", "/healthz")
        assert answer.status == 503 and answer.headers["retry-after"] == "1"
        work = client.post("/v1/embed", {"texts": ["red"]})  # is answered unparsed
        assert work.status == 503 and work.headers["retry-after"] == "1"
        assert "try again" in work.json["error"]["message"]
    finally:
        for connection in held:
            connection.close()


@pytest.mark.journey
def test_two_lengths_or_both_kinds_of_length_are_refused(client):
    head = b"POST /v1/embed HTTP/1.1\r\nHost: localhost\r\n"
    assert client.raw(head + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd").split()[1] == b"400"
    large = b"X: " + b"y" * (listening.HEADER_BYTES + 100) + b"\r\n\r\n"
    # Closed while more of it is coming, so that the answer may be lost; what came at once is read, and has no type.
    assert client.raw(head + large)[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 415", b"HTTP/1.1 431")


@pytest.mark.journey
def test_slow_headers_and_slow_bodies_are_ended_and_others_answered(client, monkeypatch):
    monkeypatch.setattr(listening, "HEADER_SECONDS", 0.3)
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.3)
    slow = [socket.create_connection(("127.0.0.1", client.port), timeout=PATIENCE) for _ in range(20)]
    for number, connection in enumerate(slow):
        head = b"POST /v1/embed HTTP/1.1\r\nHost: localhost\r\n"
        connection.sendall(head if number % 2 else head + b"Content-Length: 100\r\n\r\n{")
    assert client("GET", "/healthz").status == 200
    for number, connection in enumerate(slow):
        data = connection.recv(1 << 16)
        assert data == b"" if number % 2 else data.startswith(b"HTTP/1.1 408")
        connection.close()


@pytest.fixture
def held(client):
    """The model's thread is busy until the gate is opened."""
    gate, begun = threading.Event(), threading.Event()
    client.service._thread.call(lambda: (begun.set(), gate.wait(PATIENCE)))
    assert begun.wait(PATIENCE)
    yield client, gate
    gate.set()


@pytest.mark.journey
def test_more_requests_than_are_taken_at_once_get_503_and_the_time_to_come_again(held):
    client, gate = held
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.post("/v1/embed", {"texts": ["red"]})))
        for _ in range(guard.WORK_AT_ONCE)
    ]
    for thread in threads:
        thread.start()
    until = time.monotonic() + PATIENCE
    while client("GET", "/metrics").body.decode().count(f"in_hand {guard.WORK_AT_ONCE + 1}.0") == 0:
        assert time.monotonic() < until
    refused = client.post("/v1/embed", {"texts": ["blue"]})
    assert refused.status == 503 and refused.headers["retry-after"] == "1"
    assert "try again" in refused.json["error"]["message"] and refused.headers["x-content-type-options"] == "nosniff"
    head = b"POST /v1/embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n"
    assert client.raw(head + b" " * 9_000_000).startswith(b"HTTP/1.1 503"), (
        "the answer comes before the body is through"
    )
    assert client("GET", "/healthz").status == 200, "what needs no model is still answered"
    gate.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert [answer.status for answer in answers] == [200] * guard.WORK_AT_ONCE
    assert client.post("/v1/embed", {"texts": ["blue"]}).status == 200


@pytest.mark.journey
def test_who_goes_away_is_not_encoded_for(held, colour_model):
    client, gate = held
    before = list(colour_model.texts_seen)
    connection = http.client.HTTPConnection("127.0.0.1", client.port)
    connection.request("POST", "/v1/embed", json.dumps({"texts": ["white"]}), {"content-type": "application/json"})
    while client.service._thread._waiting.empty():
        time.sleep(0.001)
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    until = time.monotonic() + PATIENCE
    while 'status="gone"' not in client("GET", "/metrics").body.decode():
        assert time.monotonic() < until
    gate.set()
    assert client.post("/v1/embed", {"texts": ["blue"]}).status == 200
    assert colour_model.texts_seen[len(before) :] == ["blue"]


@pytest.mark.journey
def test_an_answer_that_takes_too_long_is_503(held, monkeypatch):
    client, _ = held
    monkeypatch.setattr(guard, "ANSWER_SECONDS", 0.1)
    answer = client.post("/v1/embed", {"texts": ["red"]})
    assert answer.status == 503 and answer.headers["retry-after"] == "1"


@pytest.mark.journey
def test_names_of_files_are_one_line_of_plain_text(serve_model, colour_model, tmp_path, paint):
    from seesay.index.photo_index import PhotoIndex

    paint(tmp_path / "photos" / "<img src=x onerror=alert(1)>.png", "red", side=16)
    paint(tmp_path / "photos" / "a\u202egnp\n.png", "red", side=16)
    index = PhotoIndex.create(tmp_path / "index", tmp_path / "photos", colour_model)
    index.refresh()
    answer = serve_model(colour_model, index).post("/v1/search", {"text": "red"})
    assert answer.headers["content-type"] == "application/json"
    assert sorted(photo["path"] for photo in answer.json["photos"]) == [
        "<img src=x onerror=alert(1)>.png",
        "a\\u202egnp\\n.png",
    ]
    assert str(tmp_path) not in str(answer.json)

"""A service on a port of loopback, with the model that can be checked by eye, and a client that says what it likes."""

import http.client
import io
import json
import socket
import threading
import time
from contextlib import closing, contextmanager
from types import SimpleNamespace

import pytest
from PIL import Image

pytest.importorskip("lancedb", reason="the extras `search` and `serve` are not installed")
pytest.importorskip("fastapi", reason="the extras `search` and `serve` are not installed")
pytest.importorskip("uvicorn", reason="the extras `search` and `serve` are not installed")
pytest.importorskip("python_multipart", reason="the extras `search` and `serve` are not installed")
pytest.importorskip("prometheus_client", reason="the extras `search` and `serve` are not installed")

from patience import PATIENCE

from seesay.index.photo_index import PhotoIndex
from seesay.service.answering import Service
from seesay.service.app import create_app
from seesay.service.guard import Access, Guard
from seesay.service.listening import bind, server_of
from seesay.service.measures import Measures


class Client:
    """Requests to a service."""

    def __init__(self, port):
        self.port = port

    def __call__(self, method, path, body=None, **headers):
        """(status, headers, body) of one request; names of headers with _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with closing(connection):
            connection.request(method, path, body, {k: v for k, v in named.items() if v is not None})
            answer = connection.getresponse()
            return SimpleNamespace(status=answer.status, headers=answer.headers, body=answer.read())

    def post(self, path, value, **headers):
        """JSON to JSON."""
        answer = self("POST", path, json.dumps(value), **{"content_type": "application/json"} | headers)
        answer.json = json.loads(answer.body)
        return answer

    def upload(self, path, *fields, **headers):
        """A multipart form of (name, text or bytes); bytes are a file."""
        body = b""
        for name, value in fields:
            file = b'; filename="a.png"' if isinstance(value, bytes) else b""
            content = value if isinstance(value, bytes) else str(value).encode()
            body += b'--edge\r\ncontent-disposition: form-data; name="%s"%s\r\n\r\n' % (name.encode(), file)
            body += content + b"\r\n"
        form = "multipart/form-data; boundary=edge"
        answer = self("POST", path, body + b"--edge--\r\n", **{"content_type": form} | headers)
        answer.json = json.loads(answer.body)
        return answer

    def raw(self, data, *, seconds=PATIENCE):
        """What comes back for these bytes, until the other side closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            parts = []
            while part := connection.recv(1 << 16):
                parts.append(part)
            return b"".join(parts)


@contextmanager
def serving(service, measures, *, access):
    """Serve in a thread."""
    listener = bind("127.0.0.1", 0)
    server = server_of(Guard(app=create_app(service, measures), access=access, measures=measures))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        until = time.monotonic() + PATIENCE
        while not server.started and time.monotonic() < until:
            time.sleep(0.005)
        yield Client(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        listener.close()
        service.close()


@pytest.fixture
def png():
    """The bytes of an image of one colour."""

    def make(colour="red", side=16):
        data = io.BytesIO()
        Image.new("RGB", (side, side), colour).save(data, "PNG")
        return data.getvalue()

    return make


@pytest.fixture
def index(tmp_path, photos, colour_model):
    made = PhotoIndex.create(tmp_path / "index", photos, colour_model)
    made.refresh()
    return made


@pytest.fixture
def serve_model():
    """Serve a model, and an index or None; more is of `Access`."""
    with_ends = []

    def start(model, index=None, **access):
        measures = Measures()
        served = Service(model, index, measures)
        context = serving(served, measures, access=Access(**{"is_loopback": True} | access))
        with_ends.append(context)
        client = context.__enter__()
        client.service = served
        return client

    yield start
    for context in with_ends:
        context.__exit__(None, None, None)


@pytest.fixture(scope="module")
def shared_client():
    """A service of the model without photos, one for all tests that change nothing of it."""
    # Not above: pytest takes what it rewrites before it is imported.
    from shared_fixtures import ColourModel

    measures = Measures()
    with serving(Service(ColourModel(), None, measures), measures, access=Access(is_loopback=True)) as client:
        yield client


@pytest.fixture
def client(serve_model, colour_model, index):
    return serve_model(colour_model, index)

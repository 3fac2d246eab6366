"""A server on loopback that does to its clients what strangers do, by the path that is asked for."""

import gzip
import io
import random
import socket
import socketserver
import threading
import time
from contextlib import contextmanager

from PIL import Image


def jpeg(seed=0, size=(64, 48)):
    """A small JPEG that differs by its seed."""
    chosen = random.Random(seed)
    image = Image.new("RGB", (8, 6))
    image.putdata([tuple(chosen.randrange(256) for _ in range(3)) for _ in range(48)])
    file = io.BytesIO()
    image.resize(size).save(file, "jpeg", quality=90)
    return file.getvalue()


GOOD = jpeg()


def answer(body, *headers, status="200 OK", length=None):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def redirect(location, status="302 Found"):
    return answer(b"", f"Location: {location}", status=status)


class Hostile(socketserver.ThreadingTCPServer):
    """Answers by path; `asked` are the paths, `headers` what came with them."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address="127.0.0.1"):
        super().__init__((address, 0), _Handler)
        self.asked, self.headers = [], []
        self.lock = threading.Lock()
        self.ended = threading.Event()

    @property
    def port(self):
        return self.server_address[1]

    def url(self, path, host="127.0.0.1"):
        return f"http://{host}:{self.port}{path}"

    def handle_error(self, request, client_address):
        """A client that went away is what is wanted here."""


class _Handler(socketserver.BaseRequestHandler):
    def handle(self):
        server = self.server
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.request.recv(4096)
        path = data.split(b" ")[1].decode()
        with server.lock:
            server.asked.append(path)
            server.headers.append(data)
        self.answer(path, server)

    def answer(self, path, server):
        send, kind = self.request.sendall, path.split("?")[0].strip("/").split("/")[0]
        if kind == "good":
            time.sleep(0.002)
            send(answer(jpeg(path), "Content-Type: image/jpeg"))
        elif kind == "drip-headers":
            for letter in "HTTP/1.1 200 OK\r\nX-A: " + "a" * 10_000:
                send(letter.encode())
                if server.ended.wait(0.05):
                    return
        elif kind == "drip-body":
            send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
            while not server.ended.wait(0.05):
                send(b"x")
        elif kind == "stall":
            server.ended.wait(30)
        elif kind == "endless":
            send(b"HTTP/1.1 200 OK\r\n\r\n")
            while not server.ended.is_set():
                send(b"x" * 65536)
        elif kind == "chunked-endless":
            send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while not server.ended.is_set():
                send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        elif kind == "long-header":
            send(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * (1 << 20) + b"\r\n\r\n")
        elif kind == "many-headers":
            send(b"HTTP/1.1 200 OK\r\n" + b"Set-Cookie: a=b\r\n" * 10_000 + b"\r\n")
        elif kind == "loop":
            send(redirect(path))
        elif kind == "hops":
            number = int(path.rsplit("/", 1)[1])
            send(redirect(f"/hops/{number - 1}") if number else answer(GOOD))
        elif kind == "to":
            send(redirect(path.split("?", 1)[1]))
        elif kind == "raw":
            send(bytes.fromhex(path.split("?", 1)[1]))
        elif kind == "again":
            tries = server.asked.count(path)
            send(answer(GOOD) if tries == 2 else answer(b"", "Retry-After: 0", status="503 Busy"))
        else:
            send(FIXED[kind])


FIXED = {
    "missing": answer(b"", status="404 Not Found"),
    "broken": answer(b"", status="500 Oh"),
    "later": answer(b"", "Retry-After: 1000000000", status="429 Too Many Requests"),
    "to-nowhere": answer(b"", status="302 Found"),
    "to-umlaut": "HTTP/1.1 302 Found\r\nLocation: /good/\u00fc\r\nContent-Length: 0\r\n\r\n".encode(),
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    "switch": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + GOOD,
    "chunked-long": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n",
    "html": answer(b"<html>not an image</html>", "Content-Type: image/jpeg"),
    "short": answer(GOOD, length=len(GOOD) + 100),
    "negative": answer(GOOD, length=-1),
    "two-lengths": answer(GOOD, f"Content-Length: {len(GOOD) + 1}"),
    "large": answer(b"", length=1 << 40),
    "bomb": answer(gzip.compress(b"x" * (50 << 20)), "Content-Encoding: gzip"),
    "packed": answer(gzip.compress(GOOD), "Content-Encoding: gzip"),
    "nested": answer(gzip.compress(gzip.compress(GOOD)), "Content-Encoding: gzip, gzip"),
    "brotli": answer(GOOD, "Content-Encoding: br"),
    "noai": answer(GOOD, "X-Robots-Tag: noai"),
    "other-robot": answer(GOOD, "X-Robots-Tag: otherbot: noai"),
    "junk": b"\x00\x01\x02 what is this\r\n\r\n",
    "closed": b"",
    "half": b"HTTP/1.1 200 OK\r\nContent-",
    "cut": answer(GOOD[:400]),
}


@contextmanager
def hostile_server(address="127.0.0.1"):
    """The server while it is open."""
    server = Hostile(address)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def canary(address="127.0.0.1"):
    """A listener that counts who connects."""
    with socket.socket() as listener:
        listener.bind((address, 0))
        listener.listen(128)
        listener.settimeout(0.05)
        hits, ended = [], threading.Event()

        def listen():
            while not ended.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                hits.append(1)
                connection.close()

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1], hits
        finally:
            ended.set()
            thread.join()

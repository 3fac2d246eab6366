"""10,000 mutated requests: no 5xx but 503, no hang, still answering. Usage: mutants.py ADDRESS PROCESS [COUNT]"""

import json
import random
import socket
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

address, process, count = urlsplit(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if sys.argv[3:] else 10_000
WAIT = 0.5
CALLERS = 12


def request(method, path, body=b"", kind="application/json"):
    head = f"{method} {path} HTTP/1.1\r\nHost: {address.hostname}:{address.port}\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


FORM = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n\x89PNG\r\n\x1a\nIHDR\r\n--x\r\n'
FORM += b'Content-Disposition: form-data; name="labels"\r\n\r\na cat\r\n--x--\r\n'
SEEDS = [
    request("GET", "/"),
    request("GET", "/v1/thumbnails/3"),
    request("GET", "/openapi.json"),
    request("POST", "/v1/embed", b'{"texts": ["a dog", "a cat"]}'),
    request("POST", "/v1/search", b'{"text": "two dogs", "top": 5, "plus": ["snow"]}'),
    request("POST", "/v1/search", b'{"like": 3}'),
    request("POST", "/v1/embeddings", b'{"model": "box", "input": ["a"], "encoding_format": "base64"}'),
    request("POST", "/v1/classify", FORM, "multipart/form-data; boundary=x"),
]
PARTS = [
    b"\r\n",
    b"\0",
    b"\xff",
    b"%00",
    b"..",
    b"{",
    b"[" * 2000,
    b'"',
    b"-1",
    b"1e999",
    b"NaN",
    b"Transfer-Encoding: chunked\r\n",
]
PARTS += [
    b"A" * 20000,
    b"Content-Length: 9\r\n",
    b"HTTP/1.0",
    b"/../",
    b"\xe2\x80\xae",
    b"Expect: 100-continue\r\n",
    b"Upgrade: websocket\r\n",
]


def mutated(data):
    data = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 8))):
        at = random.randrange(len(data) + 1)
        kind = random.randrange(5)
        if kind == 0 and at < len(data):
            data[at] = random.randrange(256)
        elif kind == 1:
            del data[at : at + random.randrange(1, 12)]
        elif kind == 2:
            data[at:at] = random.choice(PARTS)
        elif kind == 3:
            data[at:at] = data[at : at + random.randrange(1, 60)]
        else:
            digits = [i for i, c in enumerate(data) if 48 <= c < 58]
            data[random.choice(digits)] = random.choice(b"0123456789-")
        data = data or bytearray(b"\n")
    return bytes(data)


def memory():
    with open(f"/proc/{process}/status") as file:
        return next(int(line.split()[1]) >> 10 for line in file if line.startswith("VmRSS"))


def answer_to(data):
    """(status, seconds) of one request; one that is not whole is ended after half a second."""
    began = time.perf_counter()
    answer = b""
    with socket.create_connection((address.hostname, address.port), timeout=WAIT) as connection:
        try:
            connection.sendall(data)
            try:
                answer = connection.recv(1 << 16)
            except TimeoutError:
                connection.settimeout(30)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(1 << 16) or b"HTTP/1.1 unfinished"
            connection.settimeout(30)
            while connection.recv(1 << 16):
                pass
        except TimeoutError:
            answer = b"HTTP/1.1 hang"
        except OSError:
            pass
    status = answer.split(None, 2)[1].decode("latin-1") if answer.startswith(b"HTTP/1.1 ") else "closed"
    return status, time.perf_counter() - began


random.seed(16)
requests = [mutated(random.choice(SEEDS)) for _ in range(count)]
with ThreadPoolExecutor(CALLERS) as pool:
    answers = list(pool.map(answer_to, requests[:200]))
    before = memory()
    answers += pool.map(answer_to, requests[200:])
bad = [
    [status, round(took, 2), data.decode("latin-1")[:400]]
    for (status, took), data in zip(answers, requests, strict=True)
    if (status.startswith("5") and status != "503") or status == "hang"
]
statuses = dict(sorted(Counter(status for status, _ in answers).items()))
longest = max(took for _, took in answers)
result = {"requests": count, "statuses": statuses, "longest_s": round(longest, 3), "bad": bad}
print(json.dumps(result | {"memory_mb": [before, memory()]}, indent=1))

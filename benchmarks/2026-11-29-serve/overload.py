"""Open loop at 4 times the capacity: latencies of what is accepted and of 503, goodput.

Usage: overload.py ADDRESS [search|embed] [close]. One thread that sends bytes and looks for the end of an answer, since
it shares the cores with the service. Connections are kept and used again; with `close` every request has its own.
"""

import json
import os
import random
import select
import socket
import sys
import time
from urllib.parse import urlsplit

ROUTE = sys.argv[2] if len(sys.argv) > 2 else "search"
IS_CLOSED = "close" in sys.argv[3:]
WORDS = ["red", "blue", "dog", "cat", "street", "snow", "tree", "two", "people", "a", "photo", "of", "at night"]
# Fewer than the service takes.
MOST_CONNECTIONS = 400


def request(host):
    words = " ".join(random.choices(WORDS, k=6))
    body = json.dumps({"text": words, "top": 10} if ROUTE == "search" else {"texts": [words]})
    head = f"POST /v1/{ROUTE} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    close = "Connection: close\r\n" if IS_CLOSED else ""
    return f"{head}{close}Content-Length: {len(body)}\r\n\r\n{body}".encode()


class Caller:
    """Requests in hand by connection; `answers` gets (status, seconds, has Retry-After) of each."""

    def __init__(self, address):
        parts = urlsplit(address)
        self.to = parts.hostname, parts.port
        self.requests = [request(parts.netloc) for _ in range(512)]
        self.poll, self.free, self.asked, self.answers, self.number = select.epoll(), [], {}, [], 0

    def ask(self, due):
        """Send a request on a free connection, or on a new one."""
        self.number += 1
        data = self.requests[self.number % len(self.requests)]
        while self.free:
            connection = self.free.pop()
            try:
                connection.send(data)
            except OSError:
                connection.close()  # the service had closed it
                continue
            self.asked[connection.fileno()] = [connection, due, b"", data]
            return
        self._open(due, data)

    def _open(self, due, data):
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect_ex(self.to)
        self.asked[connection.fileno()] = [connection, due, None, data]
        self.poll.register(connection.fileno(), select.EPOLLOUT)

    def step(self, seconds):
        """What has come."""
        for number, _ in self.poll.poll(seconds):
            if number in self.asked:
                self._go_on(number, self.asked[number])
            else:  # closed while it was free
                connection = next(each for each in self.free if each.fileno() == number)
                self.free.remove(connection)
                connection.close()

    def _go_on(self, number, asked):
        connection, due, got, data = asked
        if got is None:
            connection.send(data)
            asked[2] = b""
            self.poll.modify(number, select.EPOLLIN)
            return
        try:
            part = connection.recv(1 << 16)
        except ConnectionError:
            part = b""
        asked[2] = got = got + part
        head, _, body = got.partition(b"\r\n\r\n")
        is_whole = body and len(body) >= int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if not part and not got:  # a kept connection that was closed while the request was on its way
            del self.asked[number]
            connection.close()
            self._open(due, data)
        elif not part or is_whole:
            del self.asked[number]
            has_retry = b"retry-after: 1" in head.lower()
            self.answers.append((int(got[9:12]), time.perf_counter() - due, has_retry))
            if not part or b"connection: close" in head.lower():
                connection.close()
            else:
                self.free.append(connection)

    def one(self):
        """The answer to one request, alone."""
        self.ask(time.perf_counter())
        while self.asked:
            self.step(1)
        return self.answers.pop()

    def closed_loop(self, callers, seconds):
        """Answers a second to so many callers, each asking again when it is answered."""
        until, self.answers = time.perf_counter() + seconds, []
        while (now := time.perf_counter()) < until:
            while len(self.asked) < callers:
                self.ask(now)
            self.step(0.01)
        done = sum(status == 200 for status, _, _ in self.answers)
        self.drain()
        return done / seconds

    def open_loop(self, rate, seconds):
        """(sent, answers); a request is due at its time, whether or not it can be sent then."""
        began, due, sent, self.answers = time.perf_counter(), 0.0, 0, []
        while due < seconds:
            now = time.perf_counter() - began
            while due <= min(now, seconds) and len(self.asked) < MOST_CONNECTIONS:
                self.ask(began + due)
                sent, due = sent + 1, due + 1 / rate
            is_full = len(self.asked) == MOST_CONNECTIONS
            self.step(0.01 if is_full else max(0.0, due - (time.perf_counter() - began)))
        self.drain()
        return sent, self.answers

    def drain(self):
        """Wait for what is asked."""
        while self.asked:
            self.step(1)


def at(values, share):
    ordered = sorted(values)
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1) if ordered else None


def main(address, seconds=10.0):
    random.seed(0)
    caller = Caller(address)
    for _ in range(20):
        caller.one()
    alone = [caller.one()[1] for _ in range(200)]
    most = caller.closed_loop(4, 5.0)
    before = time.process_time()
    began = time.perf_counter()
    sent, answers = caller.open_loop(4 * most, seconds)
    took, cpu = time.perf_counter() - began, time.process_time() - before
    accepted = [each[1] for each in answers if each[0] == 200]
    refused = [each[1] for each in answers if each[0] == 503]
    after = [caller.one()[1] for _ in range(50)]
    result = {
        "route": ROUTE,
        "connections": "one for each request" if IS_CLOSED else "kept",
        "load_of_machine": [round(each, 1) for each in os.getloadavg()][:1],
        "unloaded_ms": {"p50": at(alone, 0.5), "p99": at(alone, 0.99), "n": len(alone)},
        "capacity_per_s": round(most, 1),
        "offered_per_s": round(4 * most, 1),
        "sent_per_s": round(sent / took, 1),
        "accepted_ms": {"p50": at(accepted, 0.5), "p99": at(accepted, 0.99), "n": len(accepted)},
        "refused_ms": {"p50": at(refused, 0.5), "p99": at(refused, 0.99), "n": len(refused)},
        "accepted_p99_over_unloaded_p99": round(at(accepted, 0.99) / at(alone, 0.99), 2),
        "goodput_over_capacity": round(len(accepted) / took / most, 2),
        "other_statuses": sorted({each[0] for each in answers} - {200, 503}),
        "503_without_retry_after": sum(each[0] == 503 and not each[2] for each in answers),
        "afterwards_p99_ms": at(after, 0.99),
        "caller_cpu_ms_each": round(1000 * cpu / sent, 3),
    }
    print(json.dumps(result, indent=1))


main(sys.argv[1])

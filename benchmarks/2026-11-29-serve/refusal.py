"""CPU milliseconds of the service for a request that is refused, and for one that is answered. Usage: refusal.py"""

import subprocess
import sys
import threading
import time

import seesay
from seesay.service import guard
from seesay.service.answering import Service
from seesay.service.app import create_app
from seesay.service.guard import Access, Guard
from seesay.service.listening import bind, server_of
from seesay.service.measures import Measures

REQUESTS = 1500
CLIENT = r"""
import socket, sys
port, body, statuses = int(sys.argv[1]), b'{"texts": ["two dogs in the snow"]}', {}
head = b"POST /v1/embed HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
for _ in range(int(sys.argv[2])):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    status = answer.split()[1].decode()
    statuses[status] = statuses.get(status, 0) + 1
print(statuses)
"""


def measure(at_once):
    guard.WORK_AT_ONCE = at_once
    measures, listener = Measures(), bind("127.0.0.1", 0)
    service = Service(seesay.load("box"), None, measures)
    app = create_app(service, measures)
    server = server_of(Guard(app=app, access=Access(is_loopback=True), measures=measures))

    def call(count):
        words = [sys.executable, "-c", CLIENT, str(listener.getsockname()[1]), str(count)]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

    def drive():
        while not server.started:
            time.sleep(0.01)
        call(100)
        begun = time.process_time()
        statuses = call(REQUESTS)
        print(f"{statuses}: {1000 * (time.process_time() - begun) / REQUESTS:.2f} CPU ms each", flush=True)
        server.should_exit = True

    thread = threading.Thread(target=drive)
    thread.start()
    server.run(sockets=[listener])
    thread.join()
    service.close()


for number in (0, 8):
    measure(number)

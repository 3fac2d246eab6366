"""How fast good images come while half of 200 hosts are dead, beside the same images alone, in turn.

    python benchmarks/2026-11-29-curate/dead_hosts.py FOLDER --rounds 3

100 hosts on loopback have `--each` images and answer after `--latency` seconds; 100 others with as many URLs never
answer a connection (their queue is full, and the system drops what is sent to them). Settings are the defaults but for
the addresses. `good_s` is the clock from the first good URL that the server was asked for to the last, `clock_s` that
of the whole command with its start. Both are mostly waiting: with 1 s of latency and 32 at once a core is half busy.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
from pathlib import Path

from fetch import HOUSE, SERVER, fetched

HOSTS = 100


def dead_hosts(count):
    """A port at which no address of 127.0.1.1 to 127.0.1.COUNT answers, and the sockets that see to it."""
    held = []
    with socket.socket() as free:
        free.bind(("127.0.1.1", 0))
        port = free.getsockname()[1]
    for number in range(count):
        address = (f"127.0.1.{1 + number}", port)
        listener = socket.socket()
        listener.bind(address)
        listener.listen(0)
        held.append(listener)
        for _ in range(4):
            held.append(socket.socket())
            held[-1].setblocking(False)
            held[-1].connect_ex(address)
    return port, held


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--each", type=int, default=10)
    parser.add_argument("--latency", type=float, default=1.0)
    given = parser.parse_args()
    command = [sys.executable, "-c", SERVER, str(HOUSE / "tests"), str(given.latency)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    port = int(server.stdout.readline())
    dead_port, held = dead_hosts(HOSTS)
    found = {"alone": [], "mixed": []}
    for round_ in range(given.rounds):
        for name in ("alone", "mixed") if round_ % 2 == 0 else ("mixed", "alone"):
            urls = []
            for number in range(HOSTS * given.each):
                urls.append(f"http://127.0.0.{1 + number % HOSTS}:{port}/good/{name}-{round_}/{number}")
                if name == "mixed":
                    urls.append(f"http://127.0.1.{1 + number % HOSTS}:{dead_port}/{number}.jpg")
            found[name].append(fetched(urls, given.folder / name, sets=[]))
            print(json.dumps({name: found[name][-1]}), flush=True)
    printed, _ = server.communicate(timeout=60)
    spans = json.loads(printed)["good_s"]
    for name, rows in found.items():
        for round_, row in enumerate(rows):
            row["good_s"] = spans[f"{name}-{round_}"]
    shares = {
        measure: [a[measure] / m[measure] for a, m in zip(found["alone"], found["mixed"], strict=True)]
        for measure in ("good_s", "clock_s")
    }
    result = {
        "hosts": 2 * HOSTS, "dead": HOSTS, "sockets": len(held), "each": given.each, "latency_s": given.latency,
        "load": os.getloadavg(),
        **found, "rate_mixed_of_alone": {name: [round(each, 3) for each in values] for name, values in shares.items()},
        "median": {name: round(statistics.median(values), 3) for name, values in shares.items()},
    }  # fmt: skip
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

"""Open loop at 4 times the capacity, as `overload.py`, by `caller.c`, which takes half the CPU of a caller in Python.

    gcc -O2 -Wall -o caller caller.c
    OMP_NUM_THREADS=1 python overload_by_caller.py ./caller --out overload_by_caller.json [--close] [--rate R]

The service is started here, with the model in the box unless another is named. Unloaded is one connection that asks
again when it is answered; the capacity is that of four.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CONNECTIONS = 400


def main():
    options = argparse.ArgumentParser()
    options.add_argument("caller")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=10)
    options.add_argument("--rate", type=float, default=0, help="in place of 4 times the capacity of the round")
    options.add_argument("--model", default="box")
    options.add_argument("--close", action="store_true")
    options.add_argument("--out", type=Path, required=True)
    chosen = options.parse_args()
    words = [sys.executable, "-m", "seesay", "serve", "--model", chosen.model, "--port", "0"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    rounds = []
    try:
        port = int(server.stdout.readline().split()[0].rstrip("/").rpartition(":")[2])
        for _ in range(chosen.rounds):
            rounds.append(one_round(chosen, port, server.pid))
            print(json.dumps(rounds[-1]), flush=True)
    finally:
        server.terminate()
        server.wait()
    chosen.out.write_text(json.dumps({"cores": os.cpu_count(), "rounds": rounds}, indent=1) + "\n")


def one_round(chosen, port, process):
    body = json.dumps({"texts": ["two red dogs in snow at night"]})
    head = f"POST /v1/embed HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    close = "Connection: close\r\n" if chosen.close else ""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_text(f"{head}{close}Content-Length: {len(body)}\r\n\r\n{body}")

        def call(connections, rate, seconds):
            words = [chosen.caller, str(port), file.name, str(connections), str(rate), str(seconds)]
            done = subprocess.run(words + ["close"] * chosen.close, check=True, capture_output=True, text=True)
            *answers, facts = done.stdout.splitlines()
            values = facts.split()
            facts = dict(zip(values[::2], map(float, values[1::2]), strict=True))
            return [tuple(map(int, line.split())) for line in answers], facts

        call(4, 0, 1)
        alone, _ = call(1, 0, 2)
        closed, facts = call(4, 0, 4)
        most = sum(status == 200 for status, *_ in closed) / facts["seconds"]
        rate = chosen.rate or 4 * most
        before = cpu_of(process)
        answers, facts = call(CONNECTIONS, rate, chosen.seconds)
        spent = cpu_of(process) - before
        after, _ = call(1, 0, 1)
    accepted = [micros for status, micros, _ in answers if status == 200]
    refused = [micros for status, micros, _ in answers if status == 503]
    unloaded = at([micros for _, micros, _ in alone], 0.99)
    return {
        "load_of_machine": round(os.getloadavg()[0], 1),
        "connections": "one for each request" if chosen.close else "kept",
        "unloaded_ms": {"p50": at([micros for _, micros, _ in alone], 0.5), "p99": unloaded, "n": len(alone)},
        "capacity_per_s": round(most),
        "offered_per_s": round(rate),
        "sent_per_s": round(facts["sent"] / facts["seconds"]),
        "opened": int(facts["opened"]),
        "accepted_ms": {"p50": at(accepted, 0.5), "p99": at(accepted, 0.99), "n": len(accepted)},
        "refused_ms": {"p50": at(refused, 0.5), "p99": at(refused, 0.99), "n": len(refused)},
        "accepted_p99_over_unloaded_p99": round(at(accepted, 0.99) / unloaded, 2),
        "goodput_over_capacity": round(len(accepted) / facts["seconds"] / most, 2),
        "other_statuses": sorted({status for status, *_ in answers} - {200, 503}),
        "503_without_retry_after": sum(status == 503 and not retry for status, _, retry in answers),
        "afterwards_p99_ms": at([micros for _, micros, _ in after], 0.99),
        "cpu_s": {"service": round(spent, 2), "caller": facts["cpu"], "clock": facts["seconds"]},
    }


def cpu_of(process):
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def at(micros, share):
    ordered = sorted(micros)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1000, 2) if ordered else None


if __name__ == "__main__":
    main()

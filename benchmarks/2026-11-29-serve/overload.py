"""Open loop at 4 times the capacity: latencies of what is accepted and of 503, goodput.

Usage: overload.py ADDRESS [search|embed]. Every request has a connection of its own.
"""

import asyncio
import json
import random
import sys
import time
from urllib.parse import urlsplit

ROUTE = sys.argv[2] if len(sys.argv) > 2 else "search"
WORDS = ["red", "blue", "dog", "cat", "street", "snow", "tree", "two", "people", "a", "photo", "of", "at night"]


async def ask(host, port, body):
    """(status, seconds, has Retry-After) of one request on a connection of its own."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(host, port)
    head = (
        f"POST /v1/{ROUTE} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    )
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    data = await reader.read()
    writer.close()
    return int(data.split(None, 2)[1]), time.perf_counter() - began, b"retry-after: 1" in data


def body():
    words = " ".join(random.choices(WORDS, k=6))
    return json.dumps({"text": words, "top": 10} if ROUTE == "search" else {"texts": [words]}).encode()


def at(values, share):
    ordered = sorted(values)
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1) if ordered else None


async def capacity(host, port, seconds=6.0):
    """Answers a second of four callers, as many as are taken at once, each asking again when it is answered."""
    until, done = time.perf_counter() + seconds, 0

    async def caller():
        nonlocal done
        while time.perf_counter() < until:
            status, _, _ = await ask(host, port, body())
            done += status == 200
            await asyncio.sleep(0.05 * (status == 503))

    await asyncio.gather(*(caller() for _ in range(4)))
    return done / seconds


async def main(address, seconds=20.0):
    host, port = urlsplit(address).hostname, urlsplit(address).port
    random.seed(0)
    for _ in range(20):
        await ask(host, port, body())
    alone = [(await ask(host, port, body()))[1] for _ in range(200)]
    most = await capacity(host, port)
    rate, tasks, began = 4 * most, [], time.perf_counter()
    while (now := time.perf_counter() - began) < seconds:
        while len(tasks) < rate * now:
            tasks.append(asyncio.create_task(ask(host, port, body())))
        await asyncio.sleep(0.002)
    answers = await asyncio.gather(*tasks)
    took = time.perf_counter() - began
    accepted = [each[1] for each in answers if each[0] == 200]
    refused = [each[1] for each in answers if each[0] == 503]
    after = [(await ask(host, port, body()))[1] for _ in range(50)]
    result = {
        "route": ROUTE,
        "unloaded_ms": {"p50": at(alone, 0.5), "p99": at(alone, 0.99), "n": len(alone)},
        "capacity_per_s": round(most, 1),
        "offered_per_s": round(len(tasks) / seconds, 1),
        "accepted_ms": {"p50": at(accepted, 0.5), "p99": at(accepted, 0.99), "n": len(accepted)},
        "refused_ms": {"p50": at(refused, 0.5), "p99": at(refused, 0.99), "n": len(refused)},
        "accepted_p99_over_unloaded_p99": round(at(accepted, 0.99) / at(alone, 0.99), 2),
        "goodput_over_capacity": round(len(accepted) / took / most, 2),
        "other_statuses": sorted({each[0] for each in answers} - {200, 503}),
        "503_without_retry_after": sum(each[0] == 503 and not each[2] for each in answers),
        "afterwards_p99_ms": at(after, 0.99),
    }
    print(json.dumps(result, indent=1))


asyncio.run(main(sys.argv[1]))

"""What glibc's ways with freed memory cost while images are fetched, in turn: as it is, and as `seesay curate` sets it.

    python benchmarks/2026-11-29-curate/freed_memory.py 1000 3

So many images of 400 px from a server on loopback, by `fetch_all` with 32 threads, shrunk to 256: milliseconds of the
user's and of the system's time for each, and the most memory that the process held.
"""

import json
import resource
import subprocess
import sys

from fetch import HOUSE, SERVER


def fetched(port, count, is_shared):
    """In a process of its own."""
    from seesay.base.memory import peak_memory
    from seesay.curation.download import Downloader
    from seesay.curation.fetch import fetch_all
    from seesay.curation.images import rewritten, sides_of
    from seesay.curation.settings import FetchSettings, ImageSettings
    from seesay.data.decoding_limits import share_freed_memory

    if is_shared:
        share_freed_memory()
    settings = FetchSettings(retries=0, per_host=8, allow_private=("127.0.0.0/8",))
    urls = [(n, f"http://127.0.0.{1 + n % 50}:{port}/good/a/{n}") for n in range(count)]

    def make(body):
        data = body.read()
        return rewritten(data, ImageSettings(size=256))[0], sides_of(data), ""

    before = resource.getrusage(resource.RUSAGE_SELF)
    images = sum(each.image is not None for each in fetch_all(urls, settings, Downloader(settings=settings).ask, make))
    after = resource.getrusage(resource.RUSAGE_SELF)
    times = (after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime)
    user, system = (round(1000 * each / count, 2) for each in times)
    print(json.dumps({"images": images, "user_ms": user, "system_ms": system, "peak_mb": peak_memory() // 10**6}))


def main():
    count, rounds = int(sys.argv[1]), int(sys.argv[2])
    command = [sys.executable, "-c", SERVER, str(HOUSE / "tests"), "0", "400"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    port = server.stdout.readline().strip()
    for _ in range(rounds):
        for name in ("as it is", "shared"):
            done = subprocess.run([sys.executable, __file__, str(count), name, port], capture_output=True, text=True)
            print(name, done.stdout.strip() or done.stderr, flush=True)
    server.communicate(timeout=60)


if __name__ == "__main__":
    if len(sys.argv) > 3:
        fetched(int(sys.argv[3]), int(sys.argv[1]), sys.argv[2] == "shared")
    else:
        main()

"""Images a CPU second from a server on loopback, alone and with as many hostile URLs beside them.

    python benchmarks/2026-11-29-curate/fetch.py 1000 FOLDER [0.8]

The last number is the seconds that a good URL takes to answer. The server is another process
(`tests/hostile_hosts.py`); its images are photographs of scikit-image as JPEG, 512 pixels on their shorter side, and
are shrunk to 256. CPU seconds are those of `seesay curate --stages fetch`, with its start. Good URLs are on 50 hosts,
hostile ones on 200. `good_s` is the clock from the first good URL that the server was asked for to the last,
`longest_s` the longest that it held a connection of a hostile one.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

HOUSE = Path(__file__).parents[2]
SERVER = """
import io, json, sys, time, zlib
sys.path.insert(0, sys.argv[1])
import hostile_hosts, skimage.data
from PIL import Image
latency = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
sides = [int(side) for side in sys.argv[3].split(",")] if len(sys.argv) > 3 else [512]
images = []
for side in sides:
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        image = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
        image = image.resize((side * image.width // min(image.size), side * image.height // min(image.size)))
        file = io.BytesIO()
        image.save(file, "jpeg", quality=90)
        images.append(file.getvalue())
hostile_hosts.jpeg = lambda path: time.sleep(latency) or images[zlib.crc32(path.encode()) % len(images)]
hostile_hosts.Hostile.request_queue_size = 1024
times, held = {}, {}
honest = hostile_hosts._Handler.answer
def timed(self, path, server):
    kind = path.split("?")[0].split("/")[1]
    started = time.monotonic()
    if kind == "good":
        first, last = times.get(path.split("/")[2], (started, started))
        times[path.split("/")[2]] = min(first, started), max(last, started)
    try:
        honest(self, path, server)
    finally:
        if kind != "good":
            held[kind] = max(held.get(kind, 0), time.monotonic() - started)
hostile_hosts._Handler.answer = timed
with hostile_hosts.hostile_server("0.0.0.0") as server:
    print(server.port, flush=True)
    sys.stdin.read()
    spans = {name: round(last - first, 1) for name, (first, last) in times.items()}
    print(json.dumps({"good_s": spans, "longest_s": held}), flush=True)
"""
HOSTILE = (
    "/missing",
    "/html",
    "/bomb",
    "/loop",
    "/noai",
    "/short",
    "/drip-body",
    "/drip-headers",
    "/stall",
    "/endless",
)


SETS = ("fetch.retries=0", "fetch.per_host=8")


def fetched(urls, folder, sets=SETS):
    """Clock, CPU seconds and memory of fetching the URLs, and what became of them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    captions = [f"image {number}" for number in range(len(urls))]
    parquet.write_table(pa.table({"url": urls, "caption": captions}), folder / "pool.parquet")
    program = os.path.join(os.path.dirname(sys.executable), "seesay")
    words = ["--stages", "fetch", "--image-size", "256", "--allow-private", "127.0.0.0/8", "--out", str(folder / "set")]
    words += [word for each in sets for word in ("--set", each)]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [program, "curate", str(folder / "pool.parquet"), *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    largest = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        largest = max([largest, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))])
        time.sleep(0.2)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    counts = json.loads((folder / "set" / "counts.json").read_text())["stages"][-1]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "urls": len(urls),
        "images": counts["out"],
        "left_out": counts["left_out"],
        "clock_s": round(time.monotonic() - started, 1),
        "cpu_s": round(cpu, 2),
        "images_per_cpu_s": round(counts["out"] / cpu, 1),
        "largest_resident_mb": largest // 1000,
    }


def main():
    count, folder = int(sys.argv[1]), Path(sys.argv[2])
    command = [sys.executable, "-c", SERVER, str(HOUSE / "tests"), *sys.argv[3:4]]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    port = int(server.stdout.readline())
    bad = [f"http://127.0.1.{1 + number % 200}:{port}{HOSTILE[number % 10]}?{number}" for number in range(count)]
    result = {"load": os.getloadavg()}
    for name in ("alone", "mixed"):
        urls = [f"http://127.0.0.{1 + number % 50}:{port}/good/{name}/{number}" for number in range(count)]
        if name == "mixed":
            urls = [url for pair in zip(urls, bad, strict=True) for url in pair]
        result[name] = fetched(urls, folder / name)
        print(json.dumps({name: result[name]}), flush=True)
    told, _ = server.communicate(timeout=60)
    print(json.dumps({**result, **json.loads(told)}, indent=1))


if __name__ == "__main__":
    main()

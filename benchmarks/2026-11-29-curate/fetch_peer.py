"""Images a CPU second beside img2dataset, from the same server on loopback at the same settings, in turn.

    python benchmarks/2026-11-29-curate/fetch_peer.py PYTHON 1000 FOLDER 3 [512]

PYTHON is that of an environment with img2dataset. Both fetch so many photographs with 32 threads and one try, shrink
them to 256 pixels on their shorter side as JPEG of quality 95, hash them, and write tar shards with a Parquet table
beside each. The last word is the sides that the images have, with commas between them. CPU seconds are those of the
whole program and its children. Each round has a run of 50 images of each
too: what is left when those are taken off has no start of the program in it.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
from fetch import HOUSE, SERVER
from pyarrow import parquet

FEW = 50
PEER = """
import sys
from img2dataset import download
if __name__ == "__main__":
    download(url_list=sys.argv[1], output_folder=sys.argv[2], input_format="parquet", url_col="url",
             caption_col="caption", output_format="webdataset", image_size=256, resize_mode="keep_ratio",
             resize_only_if_bigger=True, encode_quality=95, processes_count=1, thread_count=32, retries=0, timeout=20,
             compute_hash="sha256", number_sample_per_shard=10000, enable_wandb=False)
"""


def cpu_seconds(command, log):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(log, "w") as file:
        subprocess.run(command, check=True, stdout=file, stderr=file)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    peer, count, folder, rounds = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "peer.py").write_text(PEER)
    sides = sys.argv[5] if len(sys.argv) > 5 else "512"
    command = [sys.executable, "-c", SERVER, str(HOUSE / "tests"), "0", sides]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    port = int(server.stdout.readline())
    for number in (FEW, count):
        urls = [f"http://127.0.0.{1 + n % 50}:{port}/good/{number}/{n}" for n in range(number)]
        columns = {"url": urls, "caption": [f"image {n}" for n in range(number)]}
        parquet.write_table(pa.table(columns), folder / f"{number}.parquet")
    words = ["--stages", "fetch,shards", "--image-size", "256", "--allow-private", "127.0.0.0/8"]
    words += ["--set", "fetch.retries=0", "--set", "fetch.per_host=8"]
    seconds = {"seesay": [], "img2dataset": []}
    images = {}
    for round_ in range(rounds):
        for name in ("seesay", "img2dataset") if round_ % 2 == 0 else ("img2dataset", "seesay"):
            used = {}
            for number in (FEW, count):
                table, out = folder / f"{number}.parquet", folder / name
                shutil.rmtree(out, ignore_errors=True)
                if name == "seesay":
                    command = [sys.executable, "-m", "seesay", "curate", str(table), "--out", str(out), *words]
                else:
                    command = [peer, str(folder / "peer.py"), str(table), str(out)]
                used[number] = cpu_seconds(command, folder / f"{name}.log")
            shards = (out / "shards" if name == "seesay" else out).glob("0*.parquet")
            tables = [parquet.read_table(path) for path in shards]
            images[name] = sum(
                len(each) if "status" not in each.column_names else each["status"].to_pylist().count("success")
                for each in tables
            )
            seconds[name].append((round(used[FEW], 2), round(used[count], 2)))
            print(name, seconds[name][-1], images[name], flush=True)
    rates = {name: [count / all_ for _, all_ in each] for name, each in seconds.items()}
    without_start = {name: [(count - FEW) / (all_ - few) for few, all_ in each] for name, each in seconds.items()}
    result = {"sides": sides, "images": images, "cpu_s_of_few_and_all": seconds, "load": os.getloadavg()}
    for title, found in (("with_start", rates), ("without_start", without_start)):
        ratios = [a / b for a, b in zip(found["seesay"], found["img2dataset"], strict=True)]
        result[title] = {
            "images_per_cpu_s": {name: round(statistics.median(each), 1) for name, each in found.items()},
            "ratio": round(statistics.median(ratios), 2),
            "ratios": [round(each, 2) for each in ratios],
        }
    print(json.dumps(result, indent=1))
    server.communicate(timeout=60)


if __name__ == "__main__":
    main()

"""`overload.py` on /v1/embed: the model in the box, and a ViT-B/32 of random weights, which takes more time than HTTP.

Usage: OMP_NUM_THREADS=1 python overload_models.py FOLDER. FOLDER gets the ViT-B/32 (600 MB). The result is in
overload_models.json.
"""

import json
import subprocess
import sys
from pathlib import Path

import seesay

HERE = Path(__file__).parent


def main(folder):
    if not (folder / "vit-b32").exists():
        seesay.build("ViT-B/32").save(folder / "vit-b32")
    results = {}
    for name in (str(folder / "vit-b32"), "box"):
        words = [sys.executable, "-m", "seesay", "serve", "--model", name, "--port", "0"]
        server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        try:
            address = server.stdout.readline().split()[0]
            words = [sys.executable, HERE / "overload.py", address, "embed"]
            done = subprocess.run(words, check=True, capture_output=True, text=True)
        finally:
            server.terminate()
            server.wait()
        results[Path(name).name] = json.loads(done.stdout)
        print(Path(name).name, done.stdout, flush=True)
    (HERE / "overload_models.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

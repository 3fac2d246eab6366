"""Make a page that searches and classifies a folder of photos in the browser, with a model of yours.

    seesay export box page/model --to transformers.js
    python examples/browser/make.py page
    python -m http.server --directory page --bind 127.0.0.1 8000

Then open http://127.0.0.1:8000. Photos stay on the computer, and the page asks for nothing but its own files; the
folder `page` works from any other place that serves files, too. transformers.js and the runtime below it come from npm,
once, at the versions and with the SHA-256 that stand here.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import seesay

HERE = Path(__file__).parent
OWN = ("index.html", "page.css", "page.js", "worker.js", "pixels.js", "files.js")
# Of the page of `seesay serve`.
SHARED = ("style.css", "icon.svg")
# npm package -> its files that the page loads, and their SHA-256.
LIBRARY = {
    "@huggingface/transformers@4.3.2": {
        "dist/transformers.min.js": "8b5a3171f8876bab2b1820a7d65eb87628e3d30bb5ea85b9dd398e76eb34decb",
        "LICENSE": "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
    },
    # The one that those 4.3.2 are built with.
    "onnxruntime-web@1.31.0-dev.20260914-8d85527a0": {
        "dist/ort-wasm-simd-threaded.mjs": "c57ca56328877353a575e51bbca6f18450027d6c9bf2307a2cb2c41363b4de9f",
        "dist/ort-wasm-simd-threaded.wasm": "06ba057753da3847e4c24f02d91ab133455b0817c69a44993a9a53a2146df9e3",
    },
}


def main(page: Path) -> None:
    """Write the page beside the model that lies in `page/model`."""
    facts = page / "model" / "export.json"
    if not facts.is_file() or json.loads(facts.read_text(encoding="utf-8"))["layout"] != "transformers.js":
        sys.exit(f"{page / 'model'} is no model for transformers.js; make one with: "
                 f"seesay export box {page / 'model'} --to transformers.js")  # fmt: skip
    service = Path(seesay.__file__).parent / "service" / "page"
    for file in [*(HERE / name for name in OWN), *(service / name for name in SHARED)]:
        shutil.copyfile(file, page / file.name)
    library = page / "library"
    library.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="seesay-") as downloads:
        for name, files in LIBRARY.items():
            copy_from_npm(name, files, Path(downloads), library)
    size = sum(file.stat().st_size for file in page.rglob("*") if file.is_file())
    print(f"{page}: {size / 1e6:.0f} MB; serve it with: python -m http.server --directory {page} --bind 127.0.0.1 8000")


def copy_from_npm(name: str, files: dict[str, str], downloads: Path, library: Path) -> None:
    """The named files of an npm package, each only with the SHA-256 that it should have."""
    if shutil.which("npm") is None:
        sys.exit("npm is not installed, which fetches transformers.js; on Debian: apt-get install npm")
    environment = os.environ | {"npm_config_update_notifier": "false"}
    words = ["npm", "pack", "--silent", "--prefer-offline", name]
    done = subprocess.run(words, cwd=downloads, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"npm could not fetch {name}: {' '.join(done.stderr.split())[:200]}")
    with tarfile.open(downloads / done.stdout.split()[-1]) as archive:
        for path, expected in files.items():
            member = archive.extractfile(f"package/{path}")
            data = b"" if member is None else member.read()
            if hashlib.sha256(data).hexdigest() != expected:
                sys.exit(f"{path} of {name} is not the file that this page was made with; nothing of it was copied.")
            (library / Path(path).name).write_bytes(data)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python make.py PAGE")
    main(Path(sys.argv[1]))

"""Write the bill of materials of a release: what `pip install seesay` may bring, file by file; `make sbom`.

    .tools/bin/python tools/sbom.py [--out dist/seesay-VERSION.cdx.json]

CycloneDX 1.6 as cyclonedx-bom makes it from the lock files: torch as PyPI has it, each file with its SHA-256. The same
lock files give the same bytes. Exit code 1 if they cannot be read.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSION_FILE = ROOT / "src" / "seesay" / "base" / "version.py"


def main() -> int:
    """Put both lock files into one, beside a pyproject.toml whose version is a word: the tool reads no dynamic one."""
    version = re.search(r'^(?:__version__|VERSION) = "([^"]+)"', VERSION_FILE.read_text(encoding="utf-8"), re.M)
    if not version:
        raise SystemExit(f"{VERSION_FILE} has no version")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / f"seesay-{version[1]}.cdx.json")
    out = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    locks = [(ROOT / "locks" / name).read_text(encoding="utf-8") for name in ("seesay.txt", "cuda.txt")]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        requirements, pyproject = Path(folder, "requirements.txt"), Path(folder, "pyproject.toml")
        requirements.write_text("\n".join(locks), encoding="utf-8")
        named = project.replace('dynamic = ["version"]', f'version = "{version[1]}"')
        pyproject.write_text(named, encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "cyclonedx_py",
            "requirements",
            str(requirements),
            "--pyproject",
            str(pyproject),
        ]
        options = ["--mc-type=library", "--sv=1.6", "--of=JSON", "--output-reproducible", "-o", str(out)]
        code = subprocess.run([*command, *options], check=False).returncode  # noqa: S603
    if code == 0:
        print(f"{out}: {out.stat().st_size:,} bytes")
    return code


if __name__ == "__main__":
    sys.exit(main())

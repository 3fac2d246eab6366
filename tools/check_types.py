"""Run pyright on what may have changed since it last found nothing: a file, and all that imports it, however far off.

    .venv/bin/python tools/check_types.py

What a file means to a type checker is its own text and that of everything it imports, by way of other files too: as
long as none of these changes, nor the checker, its settings or the packages, it passes as it passed. The digests of
what did are in .pyright_passed; without it everything is checked. The exit code is pyright's, or 0.
"""

import ast
import hashlib
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
PASSED = ROOT / ".pyright_passed"
# What decides beside the files and the settings: the versions of pyright and of everything that is imported.
LOCKS = ("constraints.txt", "locks/cpu.txt", "locks/cuda.txt")


def digests(source: Path, beside: bytes = b"") -> dict[Path, str]:
    """For each .py below `source` a digest of its text, of those of all that it imports, and of `beside`."""
    files = sorted(source.rglob("*.py"))
    texts = {file: file.read_bytes() for file in files}
    imported = {file: set(imports(file, text, source)) & texts.keys() for file, text in texts.items()}
    own = {file: hashlib.sha256(text).digest() for file, text in texts.items()}
    return {
        file: hashlib.sha256(
            b"".join([beside, *(str(one).encode() + own[one] for one in sorted(reachable(file, imported)))])
        ).hexdigest()
        for file in files
    }


def imports(file: Path, text: bytes, source: Path) -> Iterator[Path]:
    """The files that an import anywhere in `file` may mean, those that there are not among them.

    Of `from a.b import c` they are b and c: what a/__init__.py holds is not looked at.
    """
    folder = file.relative_to(source).parent.parts
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            names = [parts[:length] for parts in names for length in range(1, len(parts) + 1)]
        elif isinstance(node, ast.ImportFrom):
            above = folder[: len(folder) - node.level + 1] if node.level else ()
            module = [*above, *(node.module.split(".") if node.module else [])]
            names = [module, *([*module, alias.name] for alias in node.names)]
        else:
            continue
        for parts in names:
            yield source.joinpath(*parts).with_suffix(".py")
            yield source.joinpath(*parts, "__init__.py")


def reachable(file: Path, imported: Mapping[Path, set[Path]]) -> set[Path]:
    """The file, and what it imports, directly or not."""
    found, waiting = {file}, [file]
    while waiting:
        more = imported[waiting.pop()] - found
        found |= more
        waiting += more
    return found


def main() -> int:
    """Check what did not pass as it is now, and remember it if nothing is found."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pyright"]
    beside = "".join([*((ROOT / name).read_text() for name in LOCKS), json.dumps(settings), sys.version])
    now = digests(SOURCE, beside.encode())
    passed = set(PASSED.read_text().split()) if PASSED.exists() else set()
    changed = [file for file, digest in now.items() if digest not in passed]
    if changed:
        words = [] if len(changed) == len(now) else [str(file) for file in changed]
        command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, *words]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603
        if code:
            return code
    PASSED.write_text("\n".join(sorted(now.values())) + "\n")
    print(f"types: {len(changed)} of {len(now)} files checked, the others as they passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())

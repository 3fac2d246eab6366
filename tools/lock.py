"""Write the lock files: every package that an extra brings, with its version and the SHA-256 of each of its files.

    .tools/bin/python tools/lock.py [--upgrade [PACKAGE ...]]

`constraints.txt` is what `make` installs, `locks/NAME.txt` what one extra adds to `locks/seesay.txt`, which it reads
first: all without torch, which is `locks/cpu.txt` or `locks/cuda.txt`, PyPI's own build with what it needs on Linux.
`locks/build.txt` builds the package; `locks/tools.txt` is for this script, `make audit` and `make sbom`. A version that
a lock file has stays, but for the packages after --upgrade (without names: all). Which versions go together is left to
uv; its index is asked, and nothing is installed. Exit code 1 if no versions go together.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "locks"
# The oldest Python that runs the package; versions are chosen that have files for it and for all newer ones.
PYTHON = "3.11"
# The extras that `make` installs.
MADE = ("dev", "demo")
TOOLS = ("uv", "pip-audit", "cyclonedx-bom")
# What hatchling wants for `pip install --no-build-isolation --editable .`, which pyproject.toml does not say.
EDITABLE = "editables"
# torch's CPU builds that were tried, by version: the SHA-256 of each file. They lie in an index of their own
# (download.pytorch.org/whl/cpu) and not on PyPI, which is all that uv asks.
CPU_BUILDS = {"2.13.0": ["6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"]}  # cp311, Linux, x86_64
# In place of what packages ask for: daft 0.7.26 wants pyarrow below 26 and tqdm below 4.68, and was tried with the
# versions that are locked (tests/curation/test_engine.py). pip takes what daft asks for where no lock file is used.
OVERRIDES = ("pyarrow>=18.0", "tqdm>=4.66")
# What belongs to one build of torch and not to seesay.
BUILD_OF_TORCH = re.compile(r"(cuda-|nvidia-|(triton|torch)$)")


def read_lock(text: str) -> dict[str, str]:
    """Package -> its lines in a lock file."""
    blocks = [block.rstrip() for block in re.split(r"\n(?=\S)", text)]
    return {re.split("[= ]", block, maxsplit=1)[0]: block for block in blocks if re.match("[a-z0-9]", block)}


def resolved(asked: Sequence[str], extras: Iterable[str], pins: dict[str, str]) -> dict[str, str]:
    """Package -> its lines, of `asked` and of the package itself with `extras`; SystemExit if uv finds no versions."""
    pinned = [re.split(r"[ \\]", block, maxsplit=1)[0] for block in pins.values()]
    words = [word for extra in extras for word in ("--extra", extra)]
    with tempfile.TemporaryDirectory() as folder:
        constraints, requirements = Path(folder, "constraints.txt"), Path(folder, "requirements.txt")
        constraints.write_text("\n".join(pinned), encoding="utf-8")
        requirements.write_text("\n".join(asked), encoding="utf-8")
        overrides = Path(folder, "overrides.txt")
        overrides.write_text("\n".join(OVERRIDES), encoding="utf-8")
        inputs = [str(requirements)] if asked else [str(ROOT / "pyproject.toml"), *words]
        command = [sys.executable, "-m", "uv", "pip", "compile", *inputs, "-c", str(constraints), "--universal"]
        command += ["--override", str(overrides)]
        options = [f"--python-version={PYTHON}", "--generate-hashes", "--no-annotate", "--no-header", "--quiet"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"uv finds no versions for {' '.join(words) or ', '.join(asked)}:\n{done.stderr.strip()}")
    return read_lock(done.stdout)


def cpu_build(block: str) -> str:
    """The lines of torch's CPU build, of the version that PyPI's `block` has; SystemExit if none was tried."""
    version = re.split(r"==| ", block)[1]
    if version not in CPU_BUILDS:
        raise SystemExit(f"CPU_BUILDS has no torch {version}, only {', '.join(CPU_BUILDS)}; add its file's SHA-256")
    return " \\\n".join([f"torch=={version}+cpu", *(f"    --hash=sha256:{digest}" for digest in CPU_BUILDS[version])])


def write_lock(path: Path, first: str, blocks: dict[str, str], base: str = "") -> None:
    """One lock file: what it is for, which other one it reads first, and its packages in order of their names."""
    head = ["# Written by `make lock`; not by hand.", f"# {first}", *([f"-r {base}"] if base else [])]
    path.write_text("\n".join([*head, *(blocks[name] for name in sorted(blocks))]) + "\n", encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {len(blocks)} packages")


def main() -> int:
    """Resolve all extras together, so that each package has one version; then see which of them each extra needs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--upgrade", nargs="*", metavar="PACKAGE", help="move these, or all packages, to newer versions"
    )
    upgraded = parser.parse_args().upgrade
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = list(project["project"]["optional-dependencies"])
    LOCKS.mkdir(exist_ok=True)
    held: dict[str, str] = {}
    for path in [*LOCKS.glob("*.txt"), ROOT / "constraints.txt"] if upgraded != [] else []:
        held |= read_lock(path.read_text(encoding="utf-8")) if path.name != "cpu.txt" else {}
    held = {name: block for name, block in held.items() if name not in (upgraded or ())}

    everything = resolved([], extras, held)
    torch = {name: block for name, block in everything.items() if BUILD_OF_TORCH.match(name)}
    plain = resolved([], [], everything).keys() - torch.keys()
    build = resolved([*project["build-system"]["requires"], EDITABLE], [], held | everything)
    made = {name: everything[name] for name in resolved([], MADE, everything).keys() - torch.keys()}

    write_lock(ROOT / "constraints.txt", "What `make` installs beside torch: the tested build.", build | made)
    write_lock(LOCKS / "build.txt", "What builds the package, as the Dockerfile does.", build)
    write_lock(
        LOCKS / "cpu.txt",
        "torch's CPU build, where pip is given an index that has it.",
        {"torch": cpu_build(torch["torch"])},
    )
    write_lock(LOCKS / "cuda.txt", "torch as PyPI has it, and what it needs on Linux beside the rest.", torch)
    write_lock(
        LOCKS / "seesay.txt",
        "What seesay needs without extras, beside torch.",
        {name: everything[name] for name in plain},
    )
    for extra in extras:
        names = resolved([], [extra], everything).keys() - plain - torch.keys()
        write_lock(
            LOCKS / f"{extra}.txt",
            f"What the extra `{extra}` adds.",
            {name: everything[name] for name in names},
            "seesay.txt",
        )
    tools = resolved(TOOLS, [], held | everything)
    write_lock(LOCKS / "tools.txt", "What `make lock`, `make audit` and `make sbom` run.", tools)
    return 0


if __name__ == "__main__":
    sys.exit(main())

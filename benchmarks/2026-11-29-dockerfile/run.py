"""Carry out the Dockerfile where there is no Docker: its instructions in a new Debian, by chroot. As root.

    debootstrap --variant=minbase --include=ca-certificates bookworm ROOT
    # the Python of the image: a CPython 3.11 of one's own in ROOT, its bin first in --path
    python run.py ROOT --path /usr/local/bin --index FOLDER

FROM, COPY, ENV, RUN, USER and WORKDIR are read from the file; each stage is a copy of ROOT, beside it. pip's extra
index, which is torch's, is the only thing that is changed: to a folder with torch's CPU build, where that index cannot
be reached (--index). At the end what pip installed is listed, and the image's user asks for the version, the help and a
photo.
"""

import argparse
import os
import shlex
import shutil
import subprocess
from pathlib import Path

HOME = Path(__file__).resolve().parents[2]
ASKED = (
    "pip list --format=freeze | tr '\\n' ' '; echo",
    "seesay --version",
    "seesay --help | head -3",
    "seesay classify /tmp/photo.png motorcycle cat",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--path", required=True)
    parser.add_argument("--index", help="folder inside ROOT with torch's CPU build")
    given = parser.parse_args()
    system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    usual = {"PATH": f"{given.path}:{system}", "HOME": "/root", "LANG": "C.UTF-8"}
    stages: dict[str, Path] = {}
    for line in (HOME / "Dockerfile").read_text().replace("\\\n", " ").splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "FROM":
            stages[rest.partition(" AS ")[2]] = root = given.root.with_name(f"{given.root.name}-{len(stages)}")
            subprocess.run(["cp", "-a", given.root, root], check=True)
            environment, user, folder = dict(usual), "root", "/"
        elif kind == "COPY":
            copy(rest.split(), root, stages)
        elif kind == "ENV":
            environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
            if given.index:
                environment |= {"PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": given.index}
        elif kind == "RUN":
            run(rest, root, environment, user, folder)
        elif kind == "USER":
            user = rest
        elif kind == "WORKDIR":
            folder = rest
            (root / folder.strip("/")).mkdir(exist_ok=True)
    shutil.copy(HOME / "docs" / "explain.png", root / "tmp" / "photo.png")
    for words in ASKED:
        run(words, root, {**environment, "HOME": f"/home/{user}"}, user, folder)


def copy(words: list[str], root: Path, stages: dict[str, Path]) -> None:
    """As Docker does: a folder's content into the target, a file below it."""
    origin = stages[words.pop(0).removeprefix("--from=")] if words[0].startswith("--from=") else HOME
    *sources, target = words
    for source in sources:
        found, place = origin / source.strip("/"), root / target.strip("/")
        if found.is_dir():
            shutil.copytree(found, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, place / found.name)


def run(words: str, root: Path, environment: dict[str, str], user: str, folder: str) -> None:
    print(f"{user}$ {words}", flush=True)
    command = ["chroot", f"--userspec={user}", str(root), "/bin/sh", "-c", f"cd {folder} && {words}"]
    subprocess.run(command, env={**os.environ, **environment}, check=True)


if __name__ == "__main__":
    main()

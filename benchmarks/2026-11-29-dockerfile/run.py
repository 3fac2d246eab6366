"""Carry out the Dockerfile where there is no Docker: its instructions in a new Debian, by chroot. As root.

    debootstrap --variant=minbase --include=ca-certificates bookworm ROOT
    # the Python of the image: a CPython 3.11 of one's own in ROOT, its bin first in --path
    python run.py ROOT --path /usr/local/bin --index FOLDER

COPY, ENV, RUN, USER and WORKDIR are read from the file. pip's extra index, which is torch's, is the only thing that is
changed: to a folder with torch's CPU build, where that index cannot be reached (--index). At the end the image's user
asks for the version, the help and a photo.
"""

import argparse
import os
import shlex
import shutil
import subprocess
from pathlib import Path

HOME = Path(__file__).resolve().parents[2]
ASKED = ("seesay --version", "seesay --help | head -3", "seesay classify /seesay/photo.png motorcycle cat")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--path", required=True)
    parser.add_argument("--index", help="folder inside ROOT with torch's CPU build")
    given = parser.parse_args()
    system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {"PATH": f"{given.path}:{system}", "HOME": "/root", "LANG": "C.UTF-8"}
    user, folder = "root", "/"
    for line in (HOME / "Dockerfile").read_text().replace("\\\n", " ").splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "COPY":
            copy(rest.split(), given.root)
        elif kind == "ENV":
            environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
            if given.index:
                environment |= {"PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": given.index}
        elif kind == "RUN":
            run(rest, given.root, environment, user, folder)
        elif kind == "USER":
            user = rest
        elif kind == "WORKDIR":
            folder = rest
            (given.root / folder.strip("/")).mkdir(exist_ok=True)
    shutil.copy(HOME / "docs" / "explain.png", given.root / "seesay" / "photo.png")
    for words in ASKED:
        run(words, given.root, {**environment, "HOME": f"/home/{user}"}, user, folder)


def copy(words: list[str], root: Path) -> None:
    *sources, target = words
    for source in sources:
        place = root / target.strip("/") / ("" if (HOME / source).is_dir() else source)
        place.parent.mkdir(parents=True, exist_ok=True)
        if (HOME / source).is_dir():
            shutil.copytree(HOME / source, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(HOME / source, place)


def run(words: str, root: Path, environment: dict[str, str], user: str, folder: str) -> None:
    print(f"{user}$ {words}", flush=True)
    command = ["chroot", f"--userspec={user}", str(root), "/bin/sh", "-c", f"cd {folder} && {words}"]
    subprocess.run(command, env={**os.environ, **environment}, check=True)


if __name__ == "__main__":
    main()

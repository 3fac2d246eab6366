"""Systems other than Linux (E1): verbs in a Python that lacks what Windows lacks, and Apple's GPU where there is none.

Before, each verb ended with "a library cannot be loaded (import of fcntl halted ...)", the Python in a traceback, and
mps was "not known".
"""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "yellow": (230, 220, 40)}
# As `tests/without_unix/sitecustomize.py`, for the process alone.
HIDE = """
import multiprocessing, multiprocessing.context, os, signal, sys
sys.modules.update({"fcntl": None, "resource": None})
for owner, names in ((os, "fork forkpty sched_getaffinity O_DIRECTORY O_CLOEXEC geteuid pread"),
                     (signal, "SIGHUP SIGUSR1 SIGUSR2 pthread_sigmask")):
    for name in names.split():
        if hasattr(owner, name):
            delattr(owner, name)
for name in ("fork", "forkserver"):
    multiprocessing.context._concrete_contexts.pop(name, None)
multiprocessing.context._default_context.set_start_method("spawn")
multiprocessing.get_all_start_methods = lambda: ["spawn"]
"""


def pairs(folder: Path) -> Path:
    """48 images of 16 px with a caption each."""
    (folder / "pairs").mkdir(parents=True, exist_ok=True)
    for index in range(48):
        name = list(COLOURS)[index % 4]
        Image.new("RGB", (16, 16), COLOURS[name]).save(folder / "pairs" / f"{index:02}.png")
        (folder / "pairs" / f"{index:02}.txt").write_text(f"a {name} square\n", encoding="utf-8", newline="\n")
    return folder / "pairs"


def hidden(*words: str) -> Callable[[Path], str]:
    """`seesay` with these words, PAIRS and OUT filled in, in a process that hides all of it."""

    def snippet(folder: Path) -> str:
        filled = [{"PAIRS": str(pairs(folder)), "OUT": str(folder / "out")}.get(word, word) for word in words]
        return f"python: {HIDE}\nsys.argv = ['seesay', *{filled!r}]\nfrom seesay.__main__ import main\nsys.exit(main())"

    return snippet


def mps(folder: Path) -> list[str]:
    """`seesay train` on Apple's GPU."""
    return ["train", str(pairs(folder)), "--out", str(folder / "out"), "--device", "mps", "--steps", "2"]


def windows_locks(folder: Path) -> str:
    """Python that opens one run folder twice where no file can be locked."""
    return (
        f"python: {HIDE}\nfrom pathlib import Path\nfrom seesay.base.journal import Journal\n"
        f"with Journal(Path({str(folder)!r})), Journal(Path({str(folder)!r})):\n    print('both')"
    )


TRAIN = ("train", "PAIRS", "--out", "OUT", "--steps", "4", "--batch-size", "8", "--workers")
CASES = [
    ("E1", "train in one process, nothing of Unix there", hidden(*TRAIN, "0"), r"exit 0"),
    ("E1", "train with two spawned loader processes", hidden(*TRAIN, "2"), r"exit 0"),
    ("E1", "doctor, nothing of Unix there", hidden("doctor", "PAIRS", "--seconds", "5"), r"verdict: \w+\s+exit [01]"),
    ("E1", "classify, nothing of Unix there", hidden("classify", "PAIRS", "red", "blue", "--top", "1"), r"exit 0"),
    ("E1", "two owners of a folder without locks", windows_locks, r"warning: this system has no locks[\s\S]*exit 0"),
    ("E1", "--device mps where there is none", mps, r"device 'mps' is not here; this machine has: .*cpu\.\s+exit 2"),
]

"""F-M4: a model's download is killed 200 times, comes from 20 servers with wrong bytes, and is made by two at once.

    python downloads.py --kills 200 --json downloads.json

A server of this machine stands for the hub (HF_ENDPOINT): it holds one small model, answers as the hub does, and takes
its time. What is counted:

kills   the process is killed at a random moment of the download, with what is in the cache by then; then the same call
        must give the model that was published, and a third must ask for no byte of it again.
wrong   the server gives other bytes than it promised. The call must end with one of our errors, and no later call may
        give the wrong model; with the right server it must give the right one.
pairs   two processes load the same model at once, with the hub's file locks turned off; both must get the right one.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(tempfile.mkdtemp())
COMMIT, NAME = "0123456789abcdef0123456789abcdef01234567", "somebody/tiny"
# Of the server: a pause after each part makes the download last about a second, so that kills meet it.
PART, PAUSE = 256 << 10, 0.01
# A call that lasts longer is a hang.
HANG_SECONDS = 120


class Hub(ThreadingHTTPServer):
    """The files of one repository; `wrong` turns the bytes that are sent of a name into others, at the same promise."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files, self.wrong, self.sent = files, {}, Counter()

    def handle_error(self, *_):
        """A client that was killed resets its connection; that is what is tried here."""


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self) -> None:
        hub: Hub = self.server  # type: ignore[assignment]
        path = self.path.partition("?")[0]
        if path.startswith("/api/"):
            listed = [{"rfilename": name, "size": len(data)} for name, data in hub.files.items()]
            if "/tree/" in path:
                listed = [{"type": "file", "path": n, "size": len(d), "oid": git_name(d)} for n, d in hub.files.items()]
                self.answer(json.dumps(listed).encode())
            else:
                self.answer(json.dumps({"id": NAME, "sha": COMMIT, "siblings": listed}).encode())
            return
        name = path.rpartition("/")[2]
        if name not in hub.files:
            self.answer(b"", 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        data = hub.files[name]
        tag = hashlib.sha256(data).hexdigest() if name.endswith("safetensors") else git_name(data)
        head = {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if self.command == "HEAD":
            self.answer(data, 200, head)
            return
        first = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        body = hub.wrong.get(name, lambda bytes_: bytes_)(data)[first:]
        if first:
            head["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        hub.sent[name] += len(body)
        self.answer(body, 206 if first else 200, head)

    def answer(self, body: bytes, status: int = 200, head: dict | None = None):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(head or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            for start in range(0, len(body), PART):
                self.wfile.write(body[start : start + PART])
                time.sleep(PAUSE)
        except OSError:
            self.close_connection = True


def git_name(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324


def load_in_child(cache: Path, seconds: float | None = None, *, locks: bool = True) -> int:
    """The process id of a child that loads the model, or its exit code after `seconds` and SIGKILL, or at its end."""
    pid = os.fork()
    if pid:
        return pid
    from huggingface_hub import _snapshot_download, constants, file_download

    from seesay.base.errors import SeesayError
    from seesay.model.hub import load

    os.dup2(os.open(cache.with_suffix(".stderr"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    code = 70
    try:
        constants.HF_HUB_CACHE = str(cache)
        if not locks:
            from contextlib import nullcontext

            for module in (file_download, _snapshot_download):
                if hasattr(module, "WeakFileLock"):
                    module.WeakFileLock = lambda *_, **__: nullcontext()
        model = load(f"hf:{NAME}")
        digest = hashlib.sha256()
        for key, tensor in sorted(model.clip.state_dict().items()):
            digest.update(key.encode() + tensor.numpy().tobytes())
        code = 0 if digest.hexdigest() == os.environ["EXPECTED"] else 99
    except SeesayError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except BaseException:  # noqa: BLE001
        import traceback

        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)


def ended(pid: int, seconds: float = HANG_SECONDS) -> int | None:
    """Its exit code; None if it was still running after `seconds` and was killed."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def one_kill(hub: Hub, cache: Path, seconds: float) -> dict:
    """Kill a download after `seconds`, then load twice."""
    first = ended(load_in_child(cache), seconds)
    second = ended(load_in_child(cache))
    before = sum(hub.sent.values())
    third = ended(load_in_child(cache))
    again = sum(hub.sent.values()) - before
    shutil.rmtree(cache, ignore_errors=True)
    return {
        "killed": first is None,
        "right": second == 0 and third == 0,
        "again": again,
        "codes": [first, second, third],
    }


def flipped(where: float):
    def wrong(data: bytes) -> bytes:
        at = min(len(data) - 1, int(where * len(data)))
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return wrong


WRONG = {
    **{f"bit at {where:g}": flipped(where) for where in (0.001, 0.3, 0.5, 0.7, 0.9999)},
    "zeros": lambda data: bytes(len(data)),
    "second half zero": lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
    "a page of HTML": lambda data: b"<html>blocked</html>".ljust(len(data)),
    "cut short": lambda data: data[: len(data) // 2],
    "longer": lambda data: data + b"more",
}


def one_wrong(hub: Hub, cache: Path, name: str, wrong) -> dict:
    """Load from a server with wrong bytes twice, then from the right one."""
    hub.wrong = {name: wrong}
    codes = [ended(load_in_child(cache)) for _ in range(2)]
    hub.wrong = {}
    codes.append(ended(load_in_child(cache)))
    shutil.rmtree(cache, ignore_errors=True)
    refused = all(code not in (0, 99, 70, None) for code in codes[:2])
    return {"name": name, "right": refused and codes[2] == 0, "codes": codes}


def one_pair(cache: Path) -> dict:
    pids = [load_in_child(cache, locks=False) for _ in range(2)]
    codes = [ended(pid) for pid in pids]
    codes.append(ended(load_in_child(cache)))
    shutil.rmtree(cache, ignore_errors=True)
    return {"right": codes == [0, 0, 0], "codes": codes}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=200)
    options.add_argument("--pairs", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    began = time.monotonic()
    # Before anything of the hub is imported: it reads them once.
    os.environ |= {"HF_HOME": str(FOLDER / "home"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    import seesay

    box = seesay.load("box")
    box.save(FOLDER / "model")
    digest = hashlib.sha256()
    for key, tensor in sorted(box.clip.state_dict().items()):
        digest.update(key.encode() + tensor.numpy().tobytes())
    os.environ["EXPECTED"] = digest.hexdigest()
    hub = Hub({path.name: path.read_bytes() for path in (FOLDER / "model").iterdir() if path.is_file()})
    os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{hub.server_port}"
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    from huggingface_hub import constants

    assert os.environ["HF_ENDPOINT"] == constants.ENDPOINT, "the hub was imported too early"
    generator, cache = random.Random(chosen.seed), FOLDER / "cache"
    started = time.monotonic()
    if ended(load_in_child(cache)) != 0:
        raise SystemExit(f"the honest server failed: {cache.with_suffix('.stderr').read_text()[-2000:]}")
    usual = time.monotonic() - started
    shutil.rmtree(cache)
    kills = [one_kill(hub, cache, generator.uniform(0, usual)) for _ in range(chosen.kills)]
    weights, description = "model.safetensors", "model.json"
    wrongs = [{"kind": k, **one_wrong(hub, cache, n, w)} for n in (weights, description) for k, w in WRONG.items()]
    pairs = [one_pair(cache) for _ in range(chosen.pairs)]
    text = cache.with_suffix(".stderr").read_text()
    result = {
        "usual_seconds": round(usual, 2),
        "kills": {
            "n": len(kills),
            "while_it_ran": sum(turn["killed"] for turn in kills),
            "right": sum(turn["right"] for turn in kills),
            "bytes_asked_for_again": sum(turn["again"] for turn in kills),
        },
        "wrong_bytes": {"n": len(wrongs), "right": sum(turn["right"] for turn in wrongs)},
        "two_without_locks": {"n": len(pairs), "right": sum(turn["right"] for turn in pairs)},
        "tracebacks": text.count("Traceback"),
        "not_right": [turn for turn in [*kills, *wrongs, *pairs] if not turn["right"]][:20],
        "errors": Counter(line[:160] for line in text.splitlines() if line.startswith("error:")),
        "minutes": round((time.monotonic() - began) / 60, 1),
    }
    print(json.dumps(result, indent=2))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=2) + "\n")
    shutil.rmtree(FOLDER)
    return 0 if not result["not_right"] else 1


if __name__ == "__main__":
    sys.exit(main())

"""What a run does when the machine says no, tried on whole commands; A4 and the like are rows of the fault list."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from patience import PATIENCE

from seesay.base.journal import EVENTS_NAME, read_events
from seesay.training.checkpoint import checkpoints

pytestmark = [pytest.mark.journey, pytest.mark.timeout(900)]
WORDS = ("model=conv-tiny", "batch_size=8", "data.workers=0", "log.every_steps=1", "towers.precision=float32")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
ROOM = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


def command(pairs: Path, out: Path, *settings: str, steps: int = 12) -> list[str]:
    words = [word for setting in (*WORDS, *settings) for word in ("--set", setting)]
    return [sys.executable, "-m", "seesay", "train", str(pairs), "--out", str(out), "--steps", str(steps), *words]


def done(words: list[str], **given) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=500, env=ENVIRONMENT, check=False, **given)


def told_of(out: Path, step: int, run: subprocess.Popen) -> None:
    """Wait until `run` has told of so many steps."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and run.poll() is None:
        if (out / EVENTS_NAME).exists() and (out / EVENTS_NAME).read_bytes().count(b'"learning_rate"') >= step:
            return
        time.sleep(0.01)
    raise AssertionError("the run has ended, or does nothing")


def mounted(script: str, *arguments: str) -> list[str]:
    """A shell script in a mount namespace of its own, where disks can be small or read-only without being root."""
    if not shutil.which("unshare") or subprocess.run([*ROOM, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here without root: not measured")
    return [*ROOM, script, *arguments]


@pytest.fixture
def strace() -> list[str]:
    if not shutil.which("strace"):
        pytest.skip("strace is not installed: not measured")
    return ["strace", "-f", "-qq"]


def test_ctrl_c_once_saves_and_goes_on(coloured_pairs, tmp_path):
    """A4, with loader processes and the signal sent to the whole group, as a terminal does."""
    out = tmp_path / "run"
    words = command(coloured_pairs(), out, "data.workers=2", steps=4000)
    run = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, start_new_session=True)
    try:
        told_of(out, 5, run)
        os.killpg(run.pid, signal.SIGINT)
        stderr = run.communicate(timeout=500)[1]
    finally:
        run.kill()
    assert run.returncode == 130 and "saved; the same command goes on" in stderr and "Traceback" not in stderr
    assert checkpoints(out / "checkpoints")


def test_ctrl_c_twice_ends_at_once_and_tears_nothing(coloured_pairs, tmp_path):
    """A4: the second comes while a checkpoint is being written, which here takes a minute."""
    pairs, out = coloured_pairs(), tmp_path / "run"
    code = (
        "import sys, time\n"
        "import seesay.training.checkpoint as checkpoint\n"
        "publish_folder = checkpoint.publish_folder\n"
        "def slow(folder, write):\n"
        "    wait = lambda: (print('saving', flush=True), time.sleep(60)) if not folder.name.endswith('03') else 0\n"
        "    publish_folder(folder, lambda place: (write(place), wait()))\n"
        "checkpoint.publish_folder = slow\n"
        "from seesay.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = command(pairs, out, "checkpoint.every_steps=3", steps=9)
    run = subprocess.Popen(
        [sys.executable, "-c", code, *words[3:]], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT
    )
    try:
        assert run.stdout and run.stdout.readline() == b"saving\n"
        run.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert run.poll() is None, "once is not enough to end it"
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=500) == -signal.SIGINT
    finally:
        run.kill()
        run.communicate()
    assert [folder.name for folder in checkpoints(out / "checkpoints")] == ["step-0000000003"]
    ended = done(words)
    assert ended.returncode == 0, ended.stderr
    assert "going on after step 3" in ended.stderr
    assert re.search(r"step-0000000006\.tmp-\S+ was being written when the run ended, and is removed", ended.stderr)


@pytest.mark.parametrize("place", ["numpy", "torch", "seesay.cli.train", "seesay.training.train"])
def test_ctrl_c_in_the_middle_of_an_import_is_one_line(place, tmp_path):
    """A4, J1: numpy's C code makes another error of it, which would end with 1 and a trace."""
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which a job in the background ignores
        "place = sys.argv.pop(1)\n"
        "class Interrupted:\n"
        "    def find_spec(name, *given):\n"
        "        if name == place:\n"
        "            try: signal.raise_signal(signal.SIGINT)\n"
        "            except KeyboardInterrupt: raise ImportError('cannot load module more than once per process')\n"
        "sys.meta_path.insert(0, Interrupted)\n"
        "from seesay.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    ended = done([sys.executable, "-c", code, place, *command(tmp_path, tmp_path / "run")[3:]])
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == "error: interrupted before the work began.\n"


def test_a_disk_too_small_for_a_checkpoint_is_told_in_bytes_before_the_first_step(coloured_pairs, tmp_path):
    """A5, A8."""
    pairs, out = coloured_pairs(), tmp_path / "disk"
    out.mkdir()
    script = 'mount -t tmpfs -o size=2m none "$0" && "$@"; code=$?; ls -A "$0/run"; exit $code'
    ended = done(mounted(script, str(out), *command(pairs, out / "run")))
    assert ended.returncode == 5, ended.stderr
    assert re.search(
        r"error: .*checkpoints cannot be written: [\d,]+ bytes are needed and [\d,]+ are free", ended.stderr
    )
    assert "events.jsonl" in ended.stdout and "step 1" not in ended.stderr


@pytest.mark.parametrize(("validation", "full"), [(0.0, "step-0000000008"), (0.1, "best")])
def test_a_disk_that_fills_up_keeps_the_checkpoint_before_and_tells_the_bytes(
    validation, full, coloured_pairs, tmp_path
):
    """A5: room for one checkpoint and a half; the best model is a third of one."""
    pairs, settings = coloured_pairs(), ("checkpoint.every_steps=4", f"data.validation={validation}")
    whole = done(command(pairs, tmp_path / "whole", *settings))
    assert whole.returncode == 0, whole.stderr
    size = sum(path.stat().st_size for path in checkpoints(tmp_path / "whole" / "checkpoints")[0].iterdir())
    out = tmp_path / "disk"
    out.mkdir()
    script = 'mount -t tmpfs -o size=$1 none "$0" && shift && "$@"; code=$?; ls -A "$0/run/checkpoints"; exit $code'
    ended = done(mounted(script, str(out), str(3 * size // 2 + 200_000), *command(pairs, out / "run", *settings)))
    assert ended.returncode == 5, ended.stderr
    assert re.search(rf"{full} cannot be written: [\d,]+ bytes are needed and [\d,]+ are free", ended.stderr)
    assert ended.stdout.split() == ["step-0000000004"]


def test_a_log_that_cannot_be_written_is_said_once_and_the_gap_is_marked(coloured_pairs, tmp_path, strace):
    """A6: writes to the log alone fail, the second to the tenth of them; the weights are those of an unbroken run."""
    pairs, out = coloured_pairs(), tmp_path / "run"
    assert done(command(pairs, tmp_path / "whole")).returncode == 0
    out.mkdir()
    inject = ["-P", str(out / EVENTS_NAME), "-e", "trace=write", "-e", "inject=write:error=ENOSPC:when=2..10"]
    ended = done([*strace, "-o", str(tmp_path / "log"), *inject, *command(pairs, out)])
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("lost lines are counted, and the run goes on") == 1
    gaps = [event for event in read_events(out / EVENTS_NAME) if event.get("event") == "gap"]
    assert len(gaps) == 1 and gaps[0]["lines"] >= 4
    weights = [(run / "model" / "model.safetensors").read_bytes() for run in (out, tmp_path / "whole")]
    assert weights[0] == weights[1]


def test_a_failed_fsync_publishes_no_checkpoint(coloured_pairs, tmp_path, strace):
    """A7."""
    pairs, out = coloured_pairs(), tmp_path / "run"
    log = tmp_path / "log"
    assert (
        done([*strace, "-o", str(log), "-e", "trace=fsync", "-y", *command(pairs, tmp_path / "whole")]).returncode == 0
    )
    synced = [line for line in log.read_text().splitlines() if "fsync(" in line]
    first = next(number for number, line in enumerate(synced, start=1) if "step-0" in line)
    inject = ["-e", "trace=fsync", "-e", f"inject=fsync:error=EIO:when={first}+"]
    ended = done([*strace, "-o", str(log), *inject, *command(pairs, out)])
    assert ended.returncode == 5, ended.stderr
    assert "the disk reports an input/output error" in ended.stderr and "Traceback" not in ended.stderr
    assert not checkpoints(out / "checkpoints") and not (out / "model").exists()


def test_a_read_only_folder_is_refused_before_the_pairs_are_read(coloured_pairs, tmp_path):
    """A8: the run's place, and the checkpoints of a run that has begun."""
    pairs, out = coloured_pairs(), tmp_path / "run"
    for place in (out, out / "checkpoints"):
        place.mkdir()
        script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
        ended = done(mounted(script, str(place), *command(pairs, out)))
        assert ended.returncode == 5, ended.stderr
        assert "cannot be written: the file system is read-only" in ended.stderr
        assert "pairs    " not in ended.stderr
        assert not list(place.iterdir())


def test_a_run_that_does_nothing_any_more_shows_its_threads_and_ends(coloured_pairs, tmp_path):
    """A16: a lock that is never given back."""
    code = (
        "import sys, threading\n"
        "import seesay.training.loop as loop\n"
        "train_step, lock = loop.train_step, threading.Lock()\n"
        "def deadlocked(run, batch):\n"
        "    if run.position.step == 3: lock.acquire(); lock.acquire()\n"
        "    train_step(run, batch)\n"
        "loop.train_step = deadlocked\n"
        "from seesay.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = command(coloured_pairs(), tmp_path / "run", "stuck_minutes=0.05", "checkpoint.every_steps=2")[3:]
    ended = done([sys.executable, "-c", code, *words])
    assert ended.returncode == 1, ended.stderr
    assert "in deadlocked" in ended.stderr and "error: no step, check or checkpoint came to its end" in ended.stderr
    assert [int(folder.name[5:]) for folder in checkpoints(tmp_path / "run" / "checkpoints")] == [2]


def test_an_export_killed_on_the_way_leaves_none_and_is_swept_up(coloured_pairs, tmp_path, strace):
    """A29: killed at the last fsync before the model gets its name."""
    pairs, out = coloured_pairs(), tmp_path / "run"
    log = tmp_path / "log"
    assert (
        done([*strace, "-o", str(log), "-e", "trace=fsync", "-y", *command(pairs, tmp_path / "whole")]).returncode == 0
    )
    synced = [line for line in log.read_text().splitlines() if "fsync(" in line]
    last = max(number for number, line in enumerate(synced, start=1) if ".model.tmp-" in line)
    inject = ["-e", "trace=fsync", "-e", f"inject=fsync:signal=KILL:when={last}"]
    assert done([*strace, "-o", str(log), *inject, *command(pairs, out)]).returncode != 0
    assert not (out / "model").exists() and list(out.glob(".model.tmp-*"))
    ended = done(command(pairs, out))
    assert ended.returncode == 0, ended.stderr
    assert not list(out.glob(".*tmp-*")) and re.search(r"weights: sha256 [0-9a-f]{64}", ended.stderr)
    weights = [(run / "model" / "model.safetensors").read_bytes() for run in (out, tmp_path / "whole")]
    assert weights[0] == weights[1]


def test_a_run_whose_images_vanish_stops_after_a_hundred_with_the_reason(coloured_pairs, tmp_path):
    """C3, C6: what was there at the start and is not any more."""
    pairs, out = coloured_pairs(200), tmp_path / "run"
    run = subprocess.Popen(
        command(pairs, out, "data.cache=false", steps=4000), stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    try:
        told_of(out, 2, run)
        for path in pairs.glob("*.png"):
            path.unlink()
        stderr = run.communicate(timeout=500)[1]
    finally:
        run.kill()
    assert run.returncode == 3, stderr
    assert re.search(r"\d samples in a row are broken \(\d+ x missing file\); fix the data", stderr)
    listed = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    assert all(Path(entry["location"]).parent == pairs for entry in listed)


def test_waiting_for_pairs_is_shown_as_a_share_of_the_time(coloured_pairs, tmp_path, strace):
    """C12: every image takes a twentieth of a second to open."""
    pairs, out = coloured_pairs(), tmp_path / "run"
    slow = ["-e", "trace=openat", "-e", "inject=openat:delay_enter=50000"]
    slow += [word for path in pairs.glob("*.png") for word in ("-P", str(path))]
    ended = done([*strace, "-o", "/dev/null", *slow, *command(pairs, out, "data.cache=false", steps=6)])
    assert ended.returncode == 0, ended.stderr
    assert min(event["data_wait"] for event in read_events(out / EVENTS_NAME) if "data_wait" in event) > 0.3


def test_too_few_pairs_and_no_pairs_are_refused_with_the_numbers(coloured_pairs, tmp_path):
    """C13."""
    ended = done(command(coloured_pairs(6), tmp_path / "run"))
    assert ended.returncode == 2 and "6 pairs are fewer than batch_size 8" in ended.stderr, ended.stderr
    (tmp_path / "none").mkdir()
    ended = done(command(tmp_path / "none", tmp_path / "run"))
    assert ended.returncode == 2 and "no images and no captions" in ended.stderr, ended.stderr
    assert not (tmp_path / "run").exists()

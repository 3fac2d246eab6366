"""Publishing against what the system itself refuses: a size limit, a full disk; and in the order it is told to."""

import re
import shutil
import subprocess
import sys
import textwrap

import pytest
from systems import needs_folder_sync, needs_limits

from seesay.base.publish import publish_file


def run_python(code, *arguments, before=()):
    return subprocess.run(
        [*before, sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        check=False, capture_output=True, text=True, timeout=500,
    )  # fmt: skip


@needs_limits
def test_a_file_size_limit_is_told_and_leaves_the_old_content(tmp_path):
    publish_file(tmp_path / "a", b"old")
    done = run_python(
        """
        import resource, signal, sys
        from seesay.base.errors import StorageError
        from seesay.base.publish import publish_file
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        try:
            publish_file(sys.argv[1], bytes(100_000))
        except StorageError as error:
            print(error)
        """,
        tmp_path / "a",
    )
    assert "larger than the file system or `ulimit -f` allows" in done.stdout, done.stderr
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_disk_that_is_really_full_is_told_and_leaves_the_old_folder(tmp_path):
    mounted = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
               'mount -t tmpfs -o size=256k tmpfs "$0" && exec "$@"', str(tmp_path)]  # fmt: skip
    if not shutil.which("unshare") or subprocess.run([*mounted, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here without root")
    done = run_python(
        """
        import os, sys
        from pathlib import Path
        from seesay.base.errors import StorageError
        from seesay.base.publish import publish_folder
        parent = Path(sys.argv[1])
        publish_folder(parent / "run", lambda folder: (folder / "a").write_bytes(b"old"))
        try:
            publish_folder(parent / "run", lambda folder: (folder / "a").write_bytes(bytes(1_000_000)))
        except StorageError as error:
            print(error)
        print(os.listdir(parent), (parent / "run" / "a").read_bytes())
        """,
        tmp_path,
        before=mounted,
    )
    told, state = done.stdout.splitlines()
    assert re.fullmatch(r".*/run cannot be written: the disk is full \([\d,]+ bytes free\); free some space .*", told)
    assert state == "['run'] b'old'"


@needs_folder_sync
def test_every_file_and_folder_reaches_the_disk_before_the_rename_and_the_rename_before_the_end(tmp_path):
    trace = tmp_path / "trace"
    traced = ["strace", "-f", "-y", "-e", "trace=fsync,rename,renameat,renameat2", "-o", str(trace)]
    if not shutil.which("strace") or subprocess.run([*traced, "true"], check=False, capture_output=True).returncode:
        pytest.skip("strace is not available here")
    (tmp_path / "place").mkdir()
    done = run_python(
        """
        import sys
        from pathlib import Path
        from seesay.base.publish import publish_folder
        publish_folder(Path(sys.argv[1]) / "run", lambda folder: (folder / "a").write_bytes(b"x"))
        """,
        tmp_path / "place",
        before=traced,
    )
    assert done.returncode == 0, done.stderr
    lines = [re.sub(r".*/place", "", line) for line in trace.read_text().splitlines() if "/place" in line]
    steps = [re.sub(r"-\d+-[0-9a-f]{8}", "", line).split(">")[0].split('"')[0] for line in lines]
    assert steps == ["/.run.tmp/a", "/.run.tmp", "/run", ""]

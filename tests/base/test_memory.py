"""What memory is at hand, from files as Linux writes them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seesay.base.memory import SAID_BY_USER, available_memory, whole_memory

GIB = 1 << 30


@pytest.fixture
def machine(tmp_path: Path):
    """Write files below a root: by path, their text."""

    def write(**files: str) -> Path:
        for name, text in {"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable:   {8 * GIB // 1024} kB\n", **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return write


def test_without_limits_it_is_what_the_system_has(machine):
    assert available_memory(machine()) == 8 * GIB


def test_a_limit_of_version_two_counts_wherever_it_stands_above(machine):
    files = {
        "proc/self/cgroup": "0::/pod/box\n",
        "sys/fs/cgroup/pod/box/memory.max": "max\n",
        "sys/fs/cgroup/pod/box/memory.current": f"{GIB}\n",
        "sys/fs/cgroup/pod/memory.max": f"{4 * GIB}\n",
        "sys/fs/cgroup/pod/memory.current": f"{3 * GIB}\n",
        "sys/fs/cgroup/pod/memory.stat": f"anon 5\ninactive_file {GIB // 2}\n",
    }
    assert available_memory(machine(**files)) == GIB + GIB // 2


def test_a_limit_of_version_one_counts_even_where_the_path_is_that_of_the_host(machine):
    files = {
        "proc/self/cgroup": "5:cpu:/\n4:memory:/docker/abc\n0::/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{3 * GIB}\n",
    }
    assert available_memory(machine(**files)) == 0


def test_the_whole_is_the_least_limit_whatever_is_in_use(machine):
    files = {
        "proc/meminfo": f"MemTotal: {8 * GIB // 1024} kB\nMemAvailable: 5 kB\n",
        "proc/self/cgroup": "0::/pod\n",
        "sys/fs/cgroup/pod/memory.max": f"{2 * GIB}\n",
        "sys/fs/cgroup/pod/memory.current": f"{GIB}\n",
    }
    assert whole_memory(machine(**files)) == 2 * GIB


def test_the_peak_is_what_was_held_even_when_it_is_held_no_more():
    code = (
        "from seesay.base.memory import peak_memory; before = peak_memory(); held = b'x' * (64 << 20); del held; "
        "print(peak_memory() - before)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 60 << 20 <= int(told.stdout) <= 80 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="the C library is asked on Linux alone")
@pytest.mark.parametrize(
    ("given", "is_kept"), [({}, True), ({"MALLOC_TRIM_THRESHOLD_": "131072"}, False), ({"GLIBC_TUNABLES": ""}, False)]
)
def test_freed_memory_is_handed_out_again_unless_the_user_says_how(given, is_kept):
    code = """
import resource
from seesay.base.memory import keep_freed_memory
said, faults = keep_freed_memory(), []
for _ in range(4):
    blocks = [bytearray(20_000_000) for _ in range(4)]
    del blocks
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(said, faults[-1] - faults[-2])
"""
    kept = {name: value for name, value in os.environ.items() if name not in SAID_BY_USER}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**kept, **given}, capture_output=True, text=True, check=True
    )
    said, faults = done.stdout.split()
    if said == "False" and is_kept:
        pytest.skip("this C library is not glibc")
    assert said == str(is_kept)
    # 80 MB are 19,532 pages of 4 KB.
    assert int(faults) < 1000 if is_kept else int(faults) > 10_000

"""What it takes to read an image: memory and time of a process of its own."""

import subprocess
import sys

READ = """
import os, sys, time
os.cpu_count = lambda: 4
from seesay.data import decoding_limits
decoding_limits.BYTES_PER_CORE = 0
from seesay.data.images import MODES
from seesay.model.encode import prefetch_blocks
from PIL import Image
import io
small = io.BytesIO()
Image.new("RGB", (9, 9)).save(small, "JPEG")
read = MODES[sys.argv[1]](size=224).read
read(small.getvalue())
# Not `ru_maxrss`, which begins with the peak of the process that started this one.
open("/proc/self/clear_refs", "w").write("5")
peak = lambda: int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1024
base, started = peak(), time.process_time()
for block in prefetch_blocks(read, sys.argv[2:], size=64):
    assert all(pixels.shape == (3, 224, 224) for pixels in block)
print(peak() - base, time.process_time() - started)
"""


def cost_of(path, mode: str, times: int = 1) -> tuple[float, float]:
    """Megabytes above those of a process that has read a small image, and seconds of a core for each."""
    command = [sys.executable, "-W", "error", "-c", READ, mode, *[str(path)] * times]
    result = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert not result.returncode, result.stderr
    megabytes, seconds = result.stdout.split()
    return float(megabytes), float(seconds) / times

"""Run commands beside a hub on the loopback that has FOLDER as somebody/tiny: python hub.py FOLDER COMMAND ..."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from loopback_hub import Hub, running

folder, *commands = sys.argv[1:]
with running(Hub(repositories={"somebody/tiny": Path(folder)})) as hub, tempfile.TemporaryDirectory() as cache:
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": cache}
    for command in commands:
        print("$", command, flush=True)
        subprocess.run(["bash", "-c", command], check=True, env=environment)

"""A plugin of pytest: seconds of a core of each test, its children's too, as JSON in the file that $CPU_SECONDS names.

    CPU_SECONDS=seconds.json PYTHONPATH=benchmarks/2026-11-29-check \\
        python -m pytest -p cpu_seconds -m "not slow and not gpu and not journey"
"""

import json
import os
import resource
import time
from pathlib import Path

import pytest

SECONDS: dict[str, float] = {}


def spent() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    begin = spent()
    try:
        return (yield)
    finally:
        SECONDS[item.nodeid] = round(spent() - begin, 3)


def pytest_unconfigure():
    Path(os.environ["CPU_SECONDS"]).write_text(json.dumps(SECONDS, indent=0))

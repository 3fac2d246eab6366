"""Sets and measurements of images of one colour."""

from pathlib import Path

import pytest

from seesay.evaluation.entries import Entry, Request, measure_entry
from seesay.evaluation.suite import Question


@pytest.fixture
def colours(tmp_path: Path, paint):
    """Write class folders: `colours("set", red=["red", "blue"])` holds two images of class red, one of them blue."""

    def write(name: str, **images: list[str]) -> Path:
        for label, painted in images.items():
            for number, colour in enumerate(painted):
                paint(tmp_path / name / label / f"{number:03}.png", colour)
        return tmp_path / name

    return write


@pytest.fixture
def measured(colour_model):
    def measure(source: Path, name: str = "colours", **request) -> Entry:
        return measure_entry(name, colour_model, str(source), Request(question=Question(), **request))

    return measure

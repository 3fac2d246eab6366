"""A folder of pairs that a small model can learn: coloured squares with their colour in words."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "yellow": (230, 220, 40)}


@pytest.fixture
def coloured_pairs(tmp_path: Path) -> Callable[..., Path]:
    """Write `count` pictures of 16 px with two captions each; returns the folder."""

    def write(count: int = 48, *, name: str = "pairs") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        random = np.random.default_rng(0)
        for index in range(count):
            colour = list(COLOURS)[index % len(COLOURS)]
            noise = random.integers(-25, 26, (16, 16, 3))
            pixels = np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{index:03}.png")
            (folder / f"{index:03}.txt").write_text(f"a {colour} square\nsomething {colour}\n")
        return folder

    return write

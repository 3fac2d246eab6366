"""A folder of photos of one colour each, and an index of it by the model that can be checked by eye."""

import pytest

pytest.importorskip("lancedb", reason="LanceDB, of the extra `search`, is not installed")

from seesay.index.photo_index import PhotoIndex


@pytest.fixture
def photos(tmp_path, paint):
    """red, green and blue in a folder, yellow in one below."""
    root = tmp_path / "photos"
    for name in ("red", "green", "blue"):
        paint(root / f"{name}.png", name, side=16)
    paint(root / "below" / "yellow.jpg", "yellow", side=16)
    return root


@pytest.fixture
def make_index(tmp_path, colour_model):
    """Open or create the index of a folder of photos."""

    def make(photos, *, name="index", model=colour_model):
        return PhotoIndex.create(tmp_path / name, photos, model)

    return make


@pytest.fixture
def index(make_index, photos):
    made = make_index(photos)
    made.refresh()
    return made

"""A folder of photos of one colour each, and an index of it by the model that can be checked by eye."""

import pytest

pytest.importorskip("lancedb", reason="LanceDB, of the extra `search`, is not installed")

from seesay.index.photo_index import PhotoIndex


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

"""A decoder that dies or hangs costs its own photo, and no other."""

import os
import signal
import time
from pathlib import Path

import pytest

from seesay.data.shared_memory import start_method
from seesay.index import reading

pytestmark = pytest.mark.skipif(start_method() != "fork", reason="what stands in for a decoder is inherited by a fork")


@pytest.fixture
def poison(photos, paint, monkeypatch):
    """Photos whose decoder kills its process, or never ends; each has a size of its own."""

    def read(source):
        if source.endswith(b"dies"):
            os.kill(os.getpid(), signal.SIGKILL)
        if source.endswith(b"hangs"):
            time.sleep(1000)
        return real(source)

    real = reading.decoding
    monkeypatch.setattr(reading, "decoding", read)
    monkeypatch.setattr(reading, "AT_ONCE", 4)
    for number in range(20):
        paint(photos / f"more{number:02}.png", "white", side=20 + number)

    def write(*names):
        for name in names:
            path = paint(photos / name, "white", side=60)
            path.write_bytes(path.read_bytes() + name.encode().split(b".")[0].rstrip(b"0123456789"))

    return write


@pytest.mark.journey
def test_photos_whose_decoder_dies_are_named_and_all_others_are_indexed(make_index, photos, poison):
    poison("dies1.png", "dies2.png")
    index = make_index(photos)
    refreshed = index.refresh()
    assert {item.key: item.reason for item in refreshed.skipped} == {
        "dies1.png": "decoder died",
        "dies2.png": "decoder died",
    }
    assert refreshed.photos == refreshed.added == 24
    begun = index.refresh()  # they are not tried again
    assert str(begun).startswith("24 photos, nothing new; 2 not read")


@pytest.mark.journey
def test_photos_whose_decoder_hangs_are_named_and_all_others_are_indexed(
    make_index, photos, poison, monkeypatch, capfd
):
    monkeypatch.setattr(reading, "BATCH_SECONDS", 20.0)
    monkeypatch.setattr(reading, "ALONE_SECONDS", 20.0)
    poison("hangs1.png")
    refreshed = make_index(photos).refresh()
    assert [(Path(item.key).name, item.reason) for item in refreshed.skipped] == [("hangs1.png", "decoder hangs")]
    assert refreshed.skipped[0].detail == "read alone, it took more than 20 s"
    assert "most recent call" not in capfd.readouterr().err
    assert refreshed.photos == 24


@pytest.mark.parametrize("count", [1, 40])
def test_the_table_is_opened_once_after_the_first_photos_are_with_their_processes(
    photos, paint, monkeypatch, colour_model, count
):
    monkeypatch.setattr(reading, "AT_ONCE", 2)
    done = []
    wait, send = reading.WorkerPool._wait, reading.WorkerPool._start
    monkeypatch.setattr(reading.WorkerPool, "_start", lambda *given: (done.append("process"), send(*given)))
    monkeypatch.setattr(reading.WorkerPool, "_wait", lambda *given: (done.append("wait"), wait(*given)))
    paths = [os.fsencode(paint(photos / f"more{number}.png", "white", side=20)) for number in range(count)]
    reads = reading.read_photos(paths, colour_model.preprocess, meanwhile=lambda: done.append("open"))
    assert sum(len(read.records) for read in reads) == count
    assert done.count("open") == 1 and set(done[: done.index("open")]) == {"process"}

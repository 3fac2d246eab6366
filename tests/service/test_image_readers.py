"""A decoder that dies or hangs on an image that was sent costs that image, not the service and no other caller."""

import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import hostile_decoders
import pytest
import torch
from patience import PATIENCE

from seesay.base.errors import BrokenSample
from seesay.service import image_readers
from seesay.service.image_readers import ImageReaders


@pytest.fixture
def readers():
    with closing(ImageReaders(hostile_decoders.read, count=1)) as made:
        yield made


def test_after_an_image_that_kills_its_decoder_the_next_is_read(readers, png, capfd):
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(3, 1, 1).expand(3, 2, 2)
    assert torch.equal(readers.read(png("red")).result(PATIENCE), red)
    for _ in range(2):
        with pytest.raises(BrokenSample, match=r"^decoder died$"):
            readers.read(b"dies").result(PATIENCE)
    assert torch.equal(readers.read(png("red")).result(PATIENCE), red)
    assert capfd.readouterr().err.count("warning: decoder died on an image that was sent") == 2


def test_an_image_that_no_decoder_ends_is_given_up_and_the_next_is_read(readers, png, monkeypatch, capfd):
    readers.read(png()).result(PATIENCE)  # its imports are not counted
    (used,) = readers._all
    monkeypatch.setattr(used, "_timeout_seconds", 0.2)
    with pytest.raises(BrokenSample, match=r"^decoder hangs$"):
        readers.read(b"hangs").result(PATIENCE)
    assert readers.read(png()).result(PATIENCE).shape == (3, 2, 2)
    told = capfd.readouterr().err
    assert told == ("warning: decoder hangs on an image that was sent (it took more than 20 s); it is started again.\n")


def test_what_cannot_be_decoded_says_why_and_costs_no_process(readers, png):
    readers.read(png()).result(PATIENCE)
    before = list(readers._all)
    with pytest.raises(BrokenSample, match=r"truncated|damaged"):
        readers.read(png(side=64)[:-40]).result(PATIENCE)
    large = png(side=8) + bytes(3 * image_readers.SLOT_BYTES)  # behind an image may be anything
    assert readers.read(large).result(PATIENCE).shape == (3, 2, 2)
    assert readers._all == before


@pytest.mark.journey
def test_an_image_that_kills_its_decoder_is_422_and_others_are_answered(client, png):
    client.service._images.close()
    client.service._images = ImageReaders(hostile_decoders.read, count=2)
    refused = client.upload("/v1/embed", ("images", png()), ("images", b"dies"))
    assert refused.status == 422 and "decoder died" in refused.json["error"]["message"]
    assert client.upload("/v1/search", ("image", png("blue"))).status == 200
    assert client.upload("/v1/classify", ("image", b"dies"), ("labels", "red"), ("labels", "blue")).status == 422
    assert client("GET", "/readyz").status == 200


@pytest.mark.journey
def test_a_process_holds_no_connection_of_a_caller(client, png):
    """A fork of the service would, and a caller that waits for the end of the connection would wait for ever."""
    images = client.service._images
    with socket.create_connection(("127.0.0.1", client.port), timeout=PATIENCE) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        assert client.upload("/v1/embed", ("images", png())).status == 200
        assert images._all
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while connection.recv(1 << 16):
            pass  # and then its end


@pytest.mark.journey
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked for in /proc")
def test_a_service_that_is_killed_leaves_no_process_and_the_working_folder_is_no_place_for_modules(png, tmp_path):
    """The folder has what another program would be, and the path of modules is this process's, whoever has set it."""
    (tmp_path / "torch.py").write_text("raise SystemExit('not this one')")
    places = [str(Path(__file__).parents[1]), str(Path(image_readers.__file__).parents[2])]
    program = (
        f"import os, sys; sys.path[:] = [*{places!r}, *filter(None, sys.path)]\n"
        "import hostile_decoders; from seesay.service.image_readers import ImageReaders\n"
        "readers = ImageReaders(hostile_decoders.read, count=1)\n"
        f"readers.read({png()!r}).result()\n"
        "print(readers._all[0]._processes[0].pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True)
    number, until = int(done.stdout), time.monotonic() + PATIENCE
    state = Path(f"/proc/{number}/stat")
    while state.exists() and state.read_text().split()[2] != "Z":
        assert time.monotonic() < until, f"process {number} is still there"
        time.sleep(0.05)

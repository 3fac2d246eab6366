"""`seesay serve` as a command: what it says, where it refuses to start, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

pytest.importorskip("lancedb")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from patience import PATIENCE

from seesay.service.listening import bind


def test_others_may_not_call_without_a_token(seesay, tmp_path):
    code, _, error = seesay("serve", "--host", "0.0.0.0")
    assert code == 2 and "--token-file" in error and "openssl rand" in error
    for words in ("short", "two words and much more", ""):
        (tmp_path / "token").write_text(words)
        code, _, error = seesay("serve", "--host", "0.0.0.0", "--token-file", tmp_path / "token")
        assert code == 2 and "16 or more" in error
    assert seesay("serve", "--token-file", tmp_path / "none")[0] == 2


def test_a_port_in_use_is_named(seesay):
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        code, _, error = seesay("serve", "--port", port)
    assert code == 1 and f"port {port}" in error and "--port" in error
    assert seesay("serve", "--host", "no.such.address.invalid", "--token-file", __file__)[0] == 2


def test_missing_packages_are_named_with_what_installs_them(seesay, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, error = seesay("serve")
    assert code == 2 and "pip install 'seesay[serve]'" in error


def test_the_model_of_an_index_is_loaded_as_the_options_say(tmp_path, paint, monkeypatch, capsys):
    from seesay.cli.main import main
    from seesay.index.photo_index import PhotoIndex
    from seesay.model.hub import load
    from seesay.service import serve as served

    paint(tmp_path / "photos" / "red.png", "red", side=32)
    PhotoIndex.create(tmp_path / "index", tmp_path / "photos", load("box").with_engine("torch-bf16"), name="box")
    seen = []
    monkeypatch.setattr(served, "_run", lambda model, index, *rest, **named: seen.append((model, index)))
    words = ["serve", "--port", "0", "--index", str(tmp_path / "index")]
    assert main([*words, "--engine", "torch-bf16"]) == 0
    ((model, index),) = seen
    assert model.engine == "torch-bf16" and index.model is model
    assert main(words) == 4 and "is rounded by another engine" in capsys.readouterr().err
    assert main([*words, "--device", "gpu"]) == 2 and "device 'gpu' is not known" in capsys.readouterr().err


@pytest.mark.journey
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_it_serves_a_folder_and_ends_as_it_is_told_without_a_trace(number, code, tmp_path, paint):
    for colour in ("red", "green"):
        paint(tmp_path / "photos" / f"{colour}.png", colour, side=32)
    words = ["serve", tmp_path / "photos", "--index", tmp_path / "index", "--port", "0"]
    served = subprocess.Popen(
        [sys.executable, "-m", "seesay", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        line = served.stdout.readline()
        address = re.match(r"(http://127\.0\.0\.1:\d+)/ +model: box +2 photos\n", line)[1]
        asked = urllib.request.Request(
            f"{address}/v1/search", json.dumps({"text": "red"}).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
            assert len(json.load(answer)["photos"]) == 2
        served.send_signal(number)
        _, error = served.communicate(timeout=PATIENCE)
    finally:
        served.kill()
        # Its pipes are closed and it is waited for, whatever went wrong.
        served.communicate()
    assert served.returncode == code, error
    assert "Traceback" not in error and "rror" not in error

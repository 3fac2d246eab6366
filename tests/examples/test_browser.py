"""The page that searches and classifies photos in the browser: its resize is Pillow's, its answers are the model's."""

import base64
import functools
import hashlib
import http.server
import io
import json
import re
import runpy
import shutil
import subprocess
import tarfile
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from PIL import Image

import seesay
from seesay.data.images import Preprocess

FOLDER = Path(__file__).parents[2] / "examples" / "browser"
# Height, width and side: smaller and larger, odd numbers too many, and strips, of which the passes come in two orders.
SIZES = [(90, 70, 64), (64, 64, 64), (200, 301, 96), (1000, 37, 64), (50, 40, 64), (33, 200, 48), (500, 3, 16)]
LABELS = ["cat", "a Dog", "cup of coffee"]
NODE = """import {{ square }} from {file};
import fs from "fs";
for (const each of JSON.parse(fs.readFileSync(0, "utf8")))
  console.log(Buffer.from(square(Buffer.from(each.rgba, "base64"), each.width, each.height, each)).toString("base64"));
"""


@pytest.fixture(scope="module")
def make():
    return runpy.run_path(str(FOLDER / "make.py"))


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_images_become_squares_as_pillow_makes_them():
    generator, cases, right = np.random.default_rng(0), [], []
    for height, width, side in SIZES:
        image_HW3 = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        rgba = np.dstack([image_HW3, np.full((height, width), 255, dtype=np.uint8)]).tobytes()
        for resample, name in ((2, "bilinear"), (3, "bicubic")):
            common = {"rgba": base64.b64encode(rgba).decode(), "width": width, "height": height, "side": side}
            for crop in ("torchvision", "transformers"):
                cases.append(common | {"resample": resample, "squash": False, "floors": crop == "transformers"})
                right.append(Preprocess(size=side, interpolation=name, crop=crop).pixels(image_HW3))
            cases.append(common | {"resample": resample, "squash": True, "floors": False})
            right.append(Preprocess(size=side, interpolation=name, resize="squash").pixels(image_HW3))
    script = NODE.format(file=json.dumps(str(FOLDER / "pixels.js")))
    words = ["node", "--input-type=module", "--eval", script]
    done = subprocess.run(words, input=json.dumps(cases), capture_output=True, text=True, check=True)
    assert len(done.stdout.split()) == len(right) == 6 * len(SIZES)
    for line, pixels_3SS in zip(done.stdout.split(), right, strict=True):
        assert base64.b64decode(line) == pixels_3SS.permute(1, 2, 0).numpy().tobytes()


def test_the_page_names_no_file_that_is_not_laid_beside_it_and_no_other_host(make):
    texts = {name: (FOLDER / name).read_text(encoding="utf-8") for name in make["OWN"]}
    assert set(make["OWN"]) == {path.name for path in FOLDER.iterdir() if path.suffix in (".html", ".css", ".js")}
    library = {f"library/{Path(path).name}" for files in make["LIBRARY"].values() for path in files}
    known = {*make["OWN"], *make["SHARED"], *library}
    for name, text in texts.items():
        assert re.findall(r"https?:|//[a-z0-9.]+\.[a-z]{2,}/", text) == [], name
        named = re.findall(r"""["'`](?:\./|\$\{here\})?((?:library/)?[\w.-]+\.(?:m?js|css|wasm|svg))["'`]""", text)
        assert set(named) <= known, name
    assert "default-src 'none'" in texts["index.html"] and "connect-src 'self';" in texts["index.html"]


def test_a_folder_without_such_a_model_is_refused_with_the_command(make, tmp_path):
    with pytest.raises(SystemExit, match=r"seesay export box .* --to transformers\.js"):
        make["main"](tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "export.json").write_text('{"layout": "onnx"}')
    with pytest.raises(SystemExit, match=r"is no model for transformers\.js"):
        make["main"](tmp_path)


def test_a_file_of_npm_that_is_another_one_is_not_copied(make, tmp_path, monkeypatch):
    def packed(words, *, cwd, **_):
        with tarfile.open(Path(cwd) / "a.tgz", "w:gz") as archive:
            entry = tarfile.TarInfo("package/dist/a.js")
            entry.size = 2
            archive.addfile(entry, io.BytesIO(b"ab"))
        return subprocess.CompletedProcess(words, 0, "a.tgz\n", "")

    monkeypatch.setattr(subprocess, "run", packed)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    downloads, library = tmp_path / "downloads", tmp_path / "library"
    downloads.mkdir()
    library.mkdir()
    with pytest.raises(SystemExit, match="not the file that this page was made with"):
        make["copy_from_npm"]("a@1", {"dist/a.js": "0" * 64}, downloads, library)
    assert not list(library.iterdir())
    make["copy_from_npm"]("a@1", {"dist/a.js": hashlib.sha256(b"ab").hexdigest()}, downloads, library)
    assert (library / "a.js").read_bytes() == b"ab"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Answers any page."""

    def end_headers(self):
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()

    def log_message(self, _, *arguments):
        self.server.paths.append(self.path)


@contextmanager
def serving(folder):
    """A server of a folder, with its address and the paths that it was asked for."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.paths, server.address = [], f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def elsewhere(tmp_path):
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
def address(make, tmp_path, monkeypatch):
    """A page with the model of the package, served; skipped without a browser, or what npm keeps of the library."""
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'seesay[onnx]'")
    if CHROMIUM is None or shutil.which("npm") is None:
        pytest.skip("Chromium or npm is not installed")
    monkeypatch.setenv("npm_config_offline", "true")
    seesay.export("box", tmp_path / "page" / "model", to="transformers.js")
    try:
        make["main"](tmp_path / "page")
    except SystemExit as error:
        pytest.skip(f"make the page once, so that npm keeps transformers.js: {error}")
    with serving(tmp_path / "page") as server:
        yield server.address


@pytest.fixture
def photos(tmp_path):
    """Photographs of scikit-image, one of them through a palette with a transparent part, and what is no photo."""
    skimage = pytest.importorskip("skimage", reason="its photographs are shown: pip install '.[demo]'")
    source, folder = Path(skimage.__file__).parent / "data", tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for name in ("chelsea.png", "coffee.png", "rocket.jpg"):
        shutil.copy(source / name, folder / "below" / name)
    image = Image.open(source / "coffee.png").convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(folder / "faded.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    (folder / "notes.txt").write_text("no photo")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


@pytest.mark.slow
def test_a_folder_is_searched_and_classified_in_the_browser_as_by_the_model(address, elsewhere, photos, tmp_path):
    page = Browser(tmp_path / "profile")
    try:
        page.call("Page.navigate", url=address)
        page.wait("document.getElementById('source-status')?.textContent.includes('box is ready')")
        page.choose_file("#folder", photos)
        page.wait("document.getElementById('source-status').textContent === 'Ready: 4 photos, 1 not readable.'")
        left = page.run("document.getElementById('left-out').innerText")
        assert "1 not readable, 1 not a photo by name, 1 hidden" in left
        _searches_as_the_model(page, photos)
        _classifies_as_the_model(page, photos)
        assert {url for url in page.addresses() if not url.startswith((address, f"blob:{address}", "about:"))} == set()
        # The policy holds for what would get in, and in a worker of the page as well.
        code = f"fetch('{elsewhere.address}').then(() => postMessage('sent'), () => postMessage('refused'))"
        worker = f"new Worker(URL.createObjectURL(new Blob([{json.dumps(code)}])))"
        assert page.run(f"new Promise((done) => {{ {worker}.onmessage = ({{ data }}) => done(data); }})") == "refused"
        assert page.run(f"fetch('{elsewhere.address}').then(() => 'sent', () => 'refused')") == "refused"
        assert elsewhere.paths == []
    finally:
        page.close()


def _searches_as_the_model(page, photos):
    page.run("document.getElementById('words').focus()")
    page.type("a cup of coffee")
    page.wait("document.querySelectorAll('#photos .score').length === 4")
    found = page.run(
        "[...document.querySelectorAll('#photos button')].map((each) =>"
        " [each.title, +each.querySelector('.score').textContent])"
    )
    model = seesay.load("box")
    paths = [photos.parent / title for title, _ in found]
    cosines = model.encode_images(paths) @ model.encode_texts(["a cup of coffee"])[0]
    assert np.abs(cosines.numpy() - [score for _, score in found]).max() < 2e-3
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    page.run("document.querySelector('#photos button').focus()")
    page.press("ArrowRight")
    page.press("Enter", "\r")
    page.wait("document.querySelectorAll('#photos .score').length === 3")


def _classifies_as_the_model(page, photos):
    page.run("document.getElementById('tab-classify').click()")
    page.run("document.getElementById('labels').value = ''; document.getElementById('labels').focus()")
    page.type("\n".join(LABELS))
    page.wait("document.getElementById('classify-status').textContent.startsWith('4 photos: ')")
    page.wait("document.querySelector('#answers .words')?.textContent.includes('c')")
    answers = page.run(
        "[...document.querySelectorAll('#answers > li')].map((card) => [card.querySelector('.name').title,"
        " [...card.querySelectorAll('.words')].map((bar) => [...bar.children].map((each) => each.textContent))])"
    )
    assert len(answers) == 4
    right = seesay.load("box").classify([photos.parent / title for title, _ in answers], LABELS)
    for (_, bars), ranking in zip(answers, right, strict=True):
        expected = ranking.to_dict()
        assert [label for label, _ in bars] == list(ranking.labels)
        assert all(abs(float(share.removesuffix(" %")) - 100 * expected[label]) < 0.5 for label, share in bars)

"""Files for other runtimes: with the names others rely on, checked by reading them back, and none where they differ."""

import importlib.util
import json
import logging
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import seesay
from seesay.base.errors import RefusedInput, SeesayError, UsageError
from seesay.cli.main import main
from seesay.tasks import export as export_file
from seesay.tasks.export_files import drawn_from_folders, graphs_of, padded_ids
from seesay.tasks.export_int8 import in_int8, telling_nobody

for package in ("onnx", "onnxruntime"):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install 'seesay[onnx]'")

EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_only.py"
LABELS = ["cat", "a Dog", "house finch", "ship"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Eight noisy pictures of two classes, wide and high."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for index in range(8):
        place = folder / ("red", "blue")[index % 2]
        place.mkdir(exist_ok=True)
        sides = (90, 70, 3) if index % 3 else (70, 100, 3)
        noise = generator.integers(0, 160, sides, dtype=np.uint8)
        noise[..., 2 * (index % 2)] += 90
        Image.fromarray(noise).save(place / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """The model of the package, exported once."""
    folder = tmp_path_factory.mktemp("exported") / "box"
    return seesay.export("box", folder)


@pytest.mark.journey
def test_the_folder_holds_what_others_rely_on(box):
    import onnxruntime

    names = {path.name for path in box.out.iterdir()}
    assert {"image.onnx", "text.onnx", "export.json", "tokenizer.json", "preprocessor_config.json"} <= names
    image, text = (
        onnxruntime.InferenceSession(box.out / name, providers=["CPUExecutionProvider"])
        for name in ("image.onnx", "text.onnx")
    )
    (pixels,), (ids,) = image.get_inputs(), text.get_inputs()
    assert (pixels.name, pixels.type, pixels.shape) == ("pixels", "tensor(float)", ["N", 3, 64, 64])
    assert (ids.name, ids.type, ids.shape) == ("ids", "tensor(int64)", ["N", "L"])
    assert [output.name for output in (*image.get_outputs(), *text.get_outputs())] == ["embedding", "embedding"]
    facts = json.loads((box.out / "export.json").read_text(encoding="utf-8"))
    assert facts == box.facts and facts["opset"] == 17 and facts["bounds"]["float32 largest difference"] == 1e-5
    torch_row, own_row = facts["check"]["rows"]
    assert torch_row["name"] == "torch" and own_row["largest_difference"] < 1e-5
    assert facts["check"]["images"] == 64 and "largest difference" in repr(box)


@pytest.mark.journey
def test_cut_rows_are_exported_as_they_are(tmp_path):
    """The graphs cut them and make them of unit length again."""
    import onnxruntime

    with pytest.warns(UserWarning, match="its whole width alone"):
        narrow = seesay.load("box").with_width(64)
    exported = seesay.export(narrow, tmp_path / "narrow")
    text = onnxruntime.InferenceSession(exported.out / "text.onnx", providers=["CPUExecutionProvider"])
    assert text.get_outputs()[0].shape == ["N", 64]
    assert exported.facts["check"]["rows"][1]["largest_difference"] < 1e-5


@pytest.mark.journey
def test_the_example_without_torch_answers_as_classify_does(box, photos):
    example = runpy.run_path(str(EXAMPLE))
    paths = sorted(photos.rglob("*.png"))
    share_NC = example["Exported"](box.out).classify(paths, LABELS)
    right = seesay.load("box").classify(paths, LABELS)
    for share_C, ranking in zip(share_NC, right, strict=True):
        assert np.allclose([ranking.to_dict()[label] for label in LABELS], share_C, atol=1e-5)


@pytest.mark.journey
def test_the_example_reads_images_of_every_kind_as_classify_does(box, tmp_path):
    """Half transparent, transparent through a palette, 16 bit, of four inks, and on its side."""
    noise = np.random.default_rng(0).integers(0, 256, (80, 120, 4), dtype=np.uint8)
    faded, colours = Image.fromarray(noise), Image.fromarray(noise[..., :3])
    faded.save(tmp_path / "faded.png")
    colours.quantize(16).save(tmp_path / "palette.png", transparency=3)
    faded.convert("LA").save(tmp_path / "grey.png")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    colours.convert("CMYK").save(tmp_path / "inks.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    colours.save(tmp_path / "turned.png", exif=exif)
    paths = sorted(tmp_path.iterdir())
    share_NC = runpy.run_path(str(EXAMPLE))["Exported"](box.out).classify(paths, LABELS)
    for path, share_C, ranking in zip(paths, share_NC, seesay.load("box").classify(paths, LABELS), strict=True):
        assert np.allclose([ranking.to_dict()[label] for label in LABELS], share_C, atol=1e-5), path.name


def test_the_example_names_neither_torch_nor_seesay_and_is_short():
    text = EXAMPLE.read_text(encoding="utf-8")
    assert "import torch" not in text and "import seesay" not in text and len(text.splitlines()) < 100


@pytest.mark.journey
def test_int8_files_are_smaller_and_their_table_has_three_rows(photos, tmp_path, capsys):
    words = ["--int8", "--calibrate", str(photos), "--check", str(photos)]
    assert main(["export", "box", str(tmp_path / "box8"), *words]) == 0
    output = capsys.readouterr().out
    facts = json.loads((tmp_path / "box8" / "export.json").read_text(encoding="utf-8"))
    names = [row["name"] for row in facts["check"]["rows"]]
    assert names == ["torch", "onnx float32", "onnx int8"] and all(name in output for name in names)
    whole, small = facts["check"]["rows"][1:]
    assert small["bytes"] < 0.6 * whole["bytes"] and 0.995 <= small["smallest_cosine"] < 0.99999
    assert small["n"] == 8 and facts["precision"] == "int8" and facts["check"]["set"]


@pytest.mark.journey
def test_where_rows_differ_nothing_is_written_and_the_exit_code_is_1(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export_file, "FLOAT_BOUND", 1e-12)
    assert main(["export", "box", str(tmp_path / "box")]) == 1
    assert "nothing is written" in capsys.readouterr().err and not list(tmp_path.iterdir())
    monkeypatch.undo()
    monkeypatch.setattr(export_file, "INT8_COSINE", 1.1)
    Image.new("RGB", (80, 80), (200, 30, 30)).save(tmp_path / "one.png")
    with pytest.raises(SeesayError, match="smallest cosine of onnx int8"):
        seesay.export("box", tmp_path / "box", int8=True, calibrate=tmp_path / "one.png")
    assert [path.name for path in tmp_path.iterdir()] == ["one.png"]


def test_ranges_are_taken_from_photos_of_all_classes():
    """A folder that is sorted by class: ten of one class come first, and one has but two."""
    photos = [Path(f"a/{number}.png") for number in range(10)] + [Path("b/0.png"), Path("b/1.png"), Path("c/x/0.png")]
    assert Counter(str(photo.parent) for photo in drawn_from_folders(photos, 6)) == {"a": 3, "b": 2, "c/x": 1}
    assert set(drawn_from_folders(photos, 99)) == set(photos)
    assert drawn_from_folders(photos, 6) == drawn_from_folders(photos, 6)
    assert len({photo.parent for photo in drawn_from_folders([Path(f"{n}/0.png") for n in range(50)], 7)}) == 7


def test_a_calibration_leaves_the_log_of_the_program_as_it_was(monkeypatch):
    model = seesay.load("box")
    graph = graphs_of(model)["text"]
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root.manager, "disable", logging.INFO)
    with pytest.raises(ValueError, match="No data is collected"):
        in_int8(graph, [], first=1)
    assert in_int8(graph, padded_ids(model, ["a cat"]), first=1)
    assert (logging.root.handlers, logging.root.manager.disable) == ([], logging.INFO)


@pytest.mark.journey
def test_what_another_program_wrote_in_the_meantime_stays(tmp_path, monkeypatch):
    def meanwhile(*arguments, **named):
        (tmp_path / "box").mkdir()
        (tmp_path / "box" / "mine.txt").write_text("mine")
        return {}

    monkeypatch.setattr(export_file, "_written", meanwhile)
    with pytest.raises(UsageError, match="exists and is not empty"):
        seesay.export("box", tmp_path / "box")
    assert [path.name for path in tmp_path.rglob("*")] == ["box", "mine.txt"]


def test_what_cannot_be_exported_is_refused_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="int8 needs calibrate PHOTOS"):
        seesay.export("box", tmp_path / "x", int8=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no photo"):
        seesay.export("box", tmp_path / "x", int8=True, calibrate=tmp_path / "empty")
    (tmp_path / "empty" / "broken.jpg").write_bytes(b"no photo")
    with pytest.raises(RefusedInput, match=r"none of the photos for calibrate could be read \(1 x not an image\)"):
        seesay.export("box", tmp_path / "x", int8=True, calibrate=tmp_path / "empty")
    with pytest.raises(UsageError, match=r"Known: onnx, openvino, transformers\.js"):
        seesay.export("box", tmp_path / "x", to="onx")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists and is not empty"):
        seesay.export("box", tmp_path / "full")
    monkeypatch.setattr("seesay.model.engines.find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(UsageError, match=r"the package onnxruntime, which is not installed.*seesay\[onnx\]"):
        seesay.export("box", tmp_path / "x")


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
def test_files_of_openvino_are_read_back_by_it(tmp_path):
    done = seesay.export("box", tmp_path / "box", to="openvino")
    assert {"image.xml", "image.bin", "text.xml", "text.bin"} <= {path.name for path in done.out.iterdir()}
    assert done.rows[1]["largest_difference"] < 1e-5


@pytest.mark.slow
def test_int8_files_of_openvino_are_by_its_own_calibrator_which_tells_nobody(photos, tmp_path, capfd):
    """It leaves the standard output empty, and has a stub in place of what sends each call to its makers."""
    for package in ("openvino", "nncf"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'seesay[openvino]'")
    done = seesay.export("box", tmp_path / "box", to="openvino", int8=True, calibrate=photos)
    assert done.rows[2]["smallest_cosine"] >= 0.995 and done.rows[2]["bytes"] < 0.6 * done.rows[1]["bytes"]
    assert not capfd.readouterr().out
    # In a program of its own, as it sends nothing under pytest.
    script = "import openvino; from seesay.tasks.export_int8 import calibrator_of_openvino; calibrator_of_openvino()\n"
    script += "from nncf.telemetry import telemetry; print(type(telemetry).__name__)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.split() and ran.stdout.split() != ["NNCFTelemetry"]


def test_a_calibrator_that_was_there_before_tells_nobody_meanwhile_and_afterwards_as_before():
    told = []
    telemetry = SimpleNamespace(_impl=SimpleNamespace(send_event=told.append))
    nncf = SimpleNamespace(telemetry=SimpleNamespace(telemetry=telemetry))
    # nncf skips what raises.
    with telling_nobody(nncf), pytest.raises(AttributeError):
        telemetry._impl.send_event("quantize")
    telemetry._impl.send_event("the program's own")
    assert told == ["the program's own"]


def test_int8_of_openvino_without_its_calibrator_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("seesay.model.engines.find_spec", lambda name: None if name == "nncf" else object())
    with pytest.raises(UsageError, match=r"the package nncf, which is not installed.*seesay\[openvino\]"):
        seesay.export("box", tmp_path / "x", to="openvino", int8=True, calibrate=tmp_path)


@pytest.mark.journey
def test_the_layout_of_transformers_js_has_its_names(tmp_path):
    import onnx

    done = seesay.export("box", tmp_path / "box", to="transformers.js")
    model = onnx.load(done.out / "onnx" / "text_model.onnx")
    assert [model.graph.input[0].name, model.graph.output[0].name] == ["input_ids", "text_embeds"]
    assert json.loads((done.out / "config.json").read_text(encoding="utf-8"))["model_type"] == "clip"
    assert (done.out / "tokenizer_config.json").is_file() and (done.out / "onnx" / "vision_model.onnx").is_file()


JS = """
import {{ env, AutoTokenizer, AutoProcessor, CLIPTextModelWithProjection, CLIPVisionModelWithProjection, RawImage }}
  from '{library}';
env.allowRemoteModels = false; env.localModelPath = '{folder}/';
const options = {{ dtype: 'fp32', device: 'cpu' }};
const tokenizer = await AutoTokenizer.from_pretrained('box');
const text = await CLIPTextModelWithProjection.from_pretrained('box', options);
const processor = await AutoProcessor.from_pretrained('box');
const vision = await CLIPVisionModelWithProjection.from_pretrained('box', options);
const ids = tokenizer({texts}, {{ padding: true, truncation: true }});
const {{ text_embeds }} = await text(ids);
const images = await Promise.all({paths}.map(path => RawImage.read(path)));
const {{ image_embeds }} = await vision(await processor(images));
console.log(JSON.stringify([image_embeds.tolist(), text_embeds.tolist()]));
"""
# Cleaned by tokenizer.json, and longer than the context.
ODD_TEXTS = [
    "Caf&eacute; “ﬁsh’n’chips”",
    "cafe\u0301 &amp; A\u030a\u00a0 B",
    "red\x1b[31m\u200b car\r\n",
    "ΟΔΥΣΣΕΥΣ",
    "cat " * 99,
]


@pytest.mark.slow
def test_transformers_js_gives_the_same_rows_and_order(tmp_path, photos):
    """With SEESAY_TRANSFORMERS_JS naming the file of the library that node is to import."""
    import os

    library = os.environ.get("SEESAY_TRANSFORMERS_JS")
    if library is None or shutil.which("node") is None:
        pytest.skip("SEESAY_TRANSFORMERS_JS names no library, or there is no node")
    seesay.export("box", tmp_path / "box", to="transformers.js")
    model, squares = seesay.load("box"), []
    for photo in sorted(photos.rglob("*.png")):
        # As large as the model takes, as that library resizes in its own way.
        squares.append(tmp_path / photo.name)
        pixels_3SS = model.preprocess.pixels(np.array(Image.open(photo)))
        Image.fromarray(pixels_3SS.permute(1, 2, 0).numpy()).save(squares[-1])
    script = tmp_path / "run.mjs"
    texts = [*LABELS, *ODD_TEXTS]
    words = {"texts": json.dumps(texts), "paths": json.dumps(list(map(str, squares)))}
    script.write_text(JS.format(library=library, folder=tmp_path, **words))
    done = subprocess.run(["node", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    image_ND, text_ND = map(np.array, json.loads(done.stdout.splitlines()[-1]))
    right_ND, right_texts_ND = model.encode_images(squares).numpy(), model.encode_texts(texts).numpy()
    assert np.abs(image_ND - right_ND).max() < 1e-3 and np.abs(text_ND - right_texts_ND).max() < 1e-3
    assert ((image_ND @ text_ND.T).argsort(1) == (right_ND @ right_texts_ND.T).argsort(1)).all()

"""The example that people run first: quickly in its parts, and once as they run it."""

import importlib.util
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import seesay

pytest.importorskip("skimage", reason="the photographs of the example lie in scikit-image: pip install '.[demo]'")

pytestmark = pytest.mark.journey
SCRIPT = Path(__file__).parents[2] / "examples" / "digits.py"


@pytest.fixture(scope="module")
def digits():
    sys.path.insert(0, str(SCRIPT.parent))  # as python does for a script
    specification = importlib.util.spec_from_file_location("digits", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    yield module
    sys.path.remove(str(SCRIPT.parent))


@pytest.fixture(scope="module")
def made(digits, tmp_path_factory):
    """The folder that the quick run of the example makes."""
    out = tmp_path_factory.mktemp("demo")
    digits.main(["--out", str(out), "--quick"])
    return out


def test_images_and_captions_are_what_a_user_would_have(digits, made):
    images, texts = sorted((made / "digits").glob("*.png")), sorted((made / "digits").glob("*.txt"))
    assert [file.stem for file in images] == [file.stem for file in texts]
    assert len(images) == 200
    assert all(len(set(file.read_text().splitlines())) == 4 for file in texts)
    held_out = [file.stem for files in digits.held_out_files(made) for file in files]
    assert len(held_out) == 120
    assert set(held_out).isdisjoint(file.stem for file in images)


def test_a_caption_names_its_digit_and_no_other(digits):
    numbers = {*digits.WORDS, *"0123456789"}
    for digit, word in enumerate(digits.WORDS):
        for seed in range(30):
            for line in digits.captions(digit, random.Random(seed)):
                said = [spoken for spoken in re.findall(r"\w+", line) if spoken in numbers]
                assert said in ([word], [str(digit)]), line


def test_ink_is_dark_on_white_paper(digits):
    ink = np.zeros((8, 8))
    ink[:, 4] = 16
    drawn = np.asarray(digits.draw(ink))
    assert drawn.shape == (32, 32, 3)
    assert drawn[16, 0].tolist() == [255, 255, 255]
    assert drawn[16, 17].max() < 80


def test_the_page_shows_what_was_measured(digits, made, capsys):
    answers = digits.classify_held_out(seesay.load(made / "run" / "model"), made)
    assert len(answers) == 120
    page = (made / "digits.html").read_text(encoding="utf-8")
    assert digits.told(answers) in page
    assert digits.told(answers) in capsys.readouterr().out
    assert "of 8 right" in page
    right = sum(card.is_right for card in answers)
    assert page.count("<svg") == 3
    assert page.count('src="data:image/') == min(6, right) + min(6, len(answers) - right) + len(digits.PHOTOS)
    assert "http" not in page.replace("http-equiv", "")


def test_a_prompt_that_was_learned_stops_the_example(digits, made, monkeypatch):
    monkeypatch.setattr(digits, "PROMPT", "someone wrote the number {}")
    with pytest.raises(AssertionError, match="a training caption holds the prompt"):
        digits.classify_held_out(seesay.load(made / "run" / "model"), made)


def test_a_folder_with_other_things_is_left_alone(digits, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "digits").mkdir()
    with pytest.raises(SystemExit, match=r"holds thesis\.tex"):
        digits.clear(tmp_path)
    assert (tmp_path / "digits").is_dir()


def test_what_the_example_made_is_made_anew(digits, tmp_path):
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "digits.html").write_text("old")
    digits.clear(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_example_reads_nine_of_ten_digits_in_five_minutes(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--out", str(tmp_path / "demo")],
        check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=540,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    measured = re.search(r"of 360 right, ([\d.]+)%", done.stdout)
    assert measured, done.stdout
    assert float(measured[1]) >= 90
    assert float(re.search(r"all of it took ([\d.]+) minutes", done.stdout)[1]) < 5
    assert (tmp_path / "demo" / "digits.html").stat().st_size > 100_000

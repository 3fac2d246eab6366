"""Pairs are counted as they are, also by several processes."""

import os
import signal

import numpy as np
import pytest
from systems import needs_fork

from seesay.base.errors import SeesayError
from seesay.data import survey
from seesay.data.pairs import open_pairs
from seesay.data.survey import survey_captions, survey_images
from seesay.data.tokenizer import CaptionTokenizer


@pytest.fixture
def folder(tmp_path, paint):
    """Three images, one of them broken; captions of 1, 2 and 30 words, a file name and a row of dots."""
    for name in "abc":
        paint(tmp_path / f"{name}.png", "red")
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "a.txt").write_text("dog\nDog  \n")
    (tmp_path / "b.txt").write_text("a dog\nIMG_2041.JPG\n")
    (tmp_path / "c.txt").write_text("dog " * 30 + "\n...\n")
    return tmp_path


def test_every_image_is_seen_and_broken_ones_are_named(folder):
    seen = survey_images(open_pairs([folder]))
    assert seen.looked_at == seen.of == 3
    assert [sample.key for sample in seen.broken] == ["b"]
    assert seen.found_N["pair"].tolist() == [0, 2] and set(seen.found_N["width"].tolist()) == {4}
    assert len(np.unique(seen.found_N["bytes"])) == 1


def test_several_processes_see_what_one_sees(folder, monkeypatch):
    alone = survey_images(open_pairs([folder]))
    monkeypatch.setattr(survey, "ALONE", 1)
    monkeypatch.setattr(survey, "CHUNK", 1)
    together = survey_images(open_pairs([folder]), cores=2)
    assert together.found_N.tobytes() == alone.found_N.tobytes() and together.broken == alone.broken


@needs_fork
def test_a_process_that_dies_while_images_are_read_is_one_line(folder, monkeypatch):
    pairs, parent = open_pairs([folder]), os.getpid()
    monkeypatch.setattr(survey, "ALONE", 1)
    monkeypatch.setattr(
        survey, "decoding", lambda _: os.kill(os.getpid(), signal.SIGKILL) if os.getpid() != parent else 0
    )
    with pytest.raises(SeesayError, match=r"loader process [01] \(pid \d+, signal 9\).* ended while images were read"):
        survey_images(pairs, cores=2)


def test_a_sample_is_as_large_as_requested(folder):
    assert survey_images(open_pairs([folder]), sample=2).looked_at == 2


def test_captions_are_measured_before_they_are_cut(folder):
    tokenizer = CaptionTokenizer.train(["a dog"] * 4, vocab_size=520, context=8)
    seen = survey_captions(open_pairs([folder]), tokenizer)
    assert seen.per_pair_N.tolist() == [2, 2, 2]
    assert seen.length_N[[0, 1, 2, 4]].tolist() == [3, 3, 4, 32]
    assert (seen.same, seen.wordless, seen.file_names) == (1, 1, ["IMG_2041.JPG"])


@pytest.mark.parametrize(
    "name", ["DSC_0042", "photo1.jpeg", "20210304_1122", "3f2a9c0b77de41", "Screenshot 2024-01-02", "picture 12"]
)
def test_file_names_are_known(name):
    assert survey._FILE_NAME.fullmatch(name)


@pytest.mark.parametrize("words", ["a dog", "1984", "photo of a cat", "B-52", "facade", "image", "2 dogs"])
def test_captions_are_not_taken_for_file_names(words):
    assert not survey._FILE_NAME.fullmatch(words)

"""What a labelled set is split into, and which settings of pairs it refuses."""

import hashlib

import pytest
from PIL import Image

from seesay.base.errors import UsageError
from seesay.base.settings import read_settings
from seesay.finetuning.target import digest, open_target
from seesay.training.settings import TrainSettings


def test_images_on_a_list_are_neither_learned_nor_measured(small_model, squares, tmp_path, capsys):
    data, listed = squares(), tmp_path / "list.txt"
    settings = read_settings(TrainSettings, file=None, base={"data": {"blocked_hashes": str(listed)}})

    def opened(files):
        listed.write_text("".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}\n" for file in files))
        return open_target(small_model, data, (), settings, own_template=False)

    files = sorted((data / "red").glob("*.png"))
    target = opened(files[:5])
    assert "data.blocked_hashes: 5 of 60 images are left out." in capsys.readouterr().err
    assert len(target.pairs.training) + target.held_count == 55
    assert not {digest(file.read_bytes()) for file in files[:5]} & set(target.digests())
    with pytest.raises(UsageError, match="all images of class 'red' of squares are on the list"):
        opened(files)
    with pytest.raises(UsageError, match="every image of squares is on the list"):
        opened(data.glob("*/*.png"))


def test_patience_is_refused_for_classes_which_have_no_validation_loss(small_model, squares):
    settings = read_settings(TrainSettings, file=None, overrides=["check.patience=3"])
    with pytest.raises(UsageError, match=r"check\.patience is 3, which looks at a validation loss"):
        open_target(small_model, squares(), (), settings, own_template=False)


@pytest.mark.parametrize("word", ["validation=0.1", "image_column=photo", "caption_column=words"])
def test_settings_of_pairs_are_refused_for_classes(word, small_model, squares):
    settings = read_settings(TrainSettings, file=None, overrides=[f"data.{word}"])
    message = f"data.{word.replace('=', ' is ')}, which is for pairs, and squares has classes; leave it out"
    with pytest.raises(UsageError, match=message):
        open_target(small_model, squares(), (), settings, own_template=False)


def test_classes_of_one_image_are_learned_and_it_is_said_that_they_are_not_measured(small_model, squares):
    data = squares(count=20)
    for name in ("red", "blue"):
        for file in sorted((data / name).glob("*.png"))[1:]:
            file.unlink()
    target = open_target(small_model, data, (), TrainSettings(), own_template=False)
    assert len(target.pairs.training) == 34 and target.held_count == 8
    assert "no image of 'blue', 'red' is measured: name some with --val" in str(target.pairs.note)
    whole = open_target(small_model, squares("all"), (), TrainSettings(), own_template=False)
    assert "measured" not in str(whole.pairs.note)


def test_pairs_of_one_image_are_learned_from_or_held_out_and_measured_once(small_model, tmp_path):
    rows = ["image,caption"]
    for number in range(90):
        # Thirty images, three times each.
        Image.new("RGB", (16, 16), (number % 30, 2 * (number % 30), 90)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,caption {number}")
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n")
    settings = read_settings(TrainSettings, file=None, overrides=["data.validation=0.45"])
    target = open_target(small_model, tmp_path / "pairs.csv", (), settings, own_template=False)
    training, held = (
        {digest(pair.image) for pair in part} for part in (target.pairs.training, target.pairs.validation)
    )
    assert not training & held and len(training) + len(held) == 30
    assert len(target.pairs.validation) == 3 * target.held_count and target.measure.n == len(held) >= 8
    assert target.pairs.held_out == pytest.approx(len(held) / 30)
    copies = 2 * target.held_count
    assert f"{copies} held-out pairs have an image that another one has, which is measured once." in target.notes
    assert len(target.digests()) == 90
    with pytest.raises(UsageError, match=r"90 images are both in pairs\.csv and in .*; take a validation set without"):
        open_target(small_model, tmp_path / "pairs.csv", tmp_path / "pairs.csv", TrainSettings(), own_template=False)

"""What a labelled set is split into, and which settings of pairs it refuses."""

import hashlib

import pytest

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


@pytest.mark.parametrize("word", ["validation=0.1", "image_column=photo", "caption_column=words"])
def test_settings_of_pairs_are_refused_for_classes(word, small_model, squares):
    settings = read_settings(TrainSettings, file=None, overrides=[f"data.{word}"])
    message = f"data.{word.replace('=', ' is ')}, which is for pairs, and squares has classes; leave it out"
    with pytest.raises(UsageError, match=message):
        open_target(small_model, squares(), (), settings, own_template=False)

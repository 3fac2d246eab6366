from collections import Counter

import numpy as np
import pytest

from seesay.data.captions import CaptionRule

REPORT = ("The lungs are clear. No effusion is seen! Is the heart large? It is not.",)


def test_without_rules_every_caption_is_drawn_equally_often():
    drawn = Counter(CaptionRule().draw(("a", "b", "c"), random, is_mirrored=True) for random in np.arange(300) / 300)
    assert drawn == {"a": 100, "b": 100, "c": 100}


def test_one_sentence_is_drawn_of_a_caption_that_has_several_each_equally_often():
    rule = CaptionRule(sentences=True)
    drawn = Counter(rule.draw(REPORT, random, is_mirrored=False) for random in np.arange(400) / 400)
    sentences = {"The lungs are clear.", "No effusion is seen!", "Is the heart large?", "It is not."}
    assert drawn == dict.fromkeys(sentences, 100)


def test_the_sentence_is_drawn_apart_from_the_caption():
    rule = CaptionRule(sentences=True)
    captions = ("One. Two.", "Three. Four.")
    drawn = Counter(rule.draw(captions, random, is_mirrored=False) for random in np.arange(400) / 400)
    assert drawn == dict.fromkeys(("One.", "Two.", "Three.", "Four."), 100)


@pytest.mark.parametrize(
    ("caption", "mirrored"),
    [
        ("a dog left of a cat", "a dog right of a cat"),
        ("Left hand, RIGHT foot", "Right hand, LEFT foot"),
        ("a right-handed batter", "a left-handed batter"),
        ("bright lights, leftovers", "bright lights, leftovers"),
    ],
)
def test_left_and_right_change_places_in_a_mirrored_image(caption, mirrored):
    rule = CaptionRule(swaps_sides=True)
    assert rule.draw((caption,), 0.0, is_mirrored=True) == mirrored
    assert rule.draw((caption,), 0.0, is_mirrored=False) == caption
    assert CaptionRule().draw((caption,), 0.0, is_mirrored=True) == caption

"""The page holds everything it shows, escapes what it is told, and runs nothing."""

import io
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from seesay.base.records import Ranking
from seesay.evaluation.html import (
    Card,
    Cards,
    Figure,
    Section,
    Table,
    classified,
    data_uri,
    render_page,
    score_of,
    similarity_figure,
    thumbnail,
)

HOSTILE = "<script>alert('a')</script>\" onload=\"x <img src=http://evil.example/x>"


def image(kind="png", size=(4, 4)):
    file = io.BytesIO()
    Image.new("RGB", size, (255, 0, 0)).save(file, kind)
    return file.getvalue()


def card(truth="cat", labels=("cat", "dog", "fish", "bird")):
    return Card(image=image(), truth=truth, ranking=Ranking(labels=labels, probabilities=(0.7, 0.2, 0.075, 0.025)))


class Elements(HTMLParser):
    """All elements of a page with their attributes, and its text."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def named(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture
def hostile_page():
    parts = [
        Figure(drawing=similarity_figure(np.eye(2), rows=[HOSTILE, "b"], columns="ab"), words=HOSTILE, note=HOSTILE),
        Table(head=(HOSTILE, "b"), rows=[(HOSTILE, "1")]),
        Cards(cards=[card(), card(truth=HOSTILE, labels=(HOSTILE, "dog")), card(truth=HOSTILE)]),
    ]
    return render_page(HOSTILE, [Section(title=HOSTILE, text=[HOSTILE], parts=parts)], lead=HOSTILE)


def test_hostile_text_stays_text(hostile_page):
    page = Elements(hostile_page)
    assert {tag for tag, _ in page.found}.isdisjoint({"script", "iframe", "object", "link", "base", "form"})
    assert not [name for _, attributes in page.found for name in attributes if name.startswith("on")]
    assert page.text.count("alert('a')") >= 10
    assert [div["aria-label"] for div in page.named("div") if "aria-label" in div] == [HOSTILE]
    assert [image["alt"] for image in page.named("img")][1:] == [HOSTILE, HOSTILE]


def test_the_page_needs_nothing_from_outside(hostile_page):
    page = Elements(hostile_page)
    addresses = [attributes[name] for _, attributes in page.found for name in ("src", "href") if name in attributes]
    # Three of cards; matrix and scale of the figure; its ticks, which are shapes in the page.
    assert sum(address.startswith("data:image/png;base64,") for address in addresses) == 5
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in addresses)
    assert hostile_page.count("url(") == hostile_page.count("url(#")
    assert "@import" not in hostile_page
    assert "<script" not in hostile_page


def test_a_page_of_harmless_text_holds_no_address_at_all():
    page = render_page("Results", [Section(title="One", parts=[Cards(cards=[card()])])])
    assert "http:" not in page
    assert "https:" not in page
    assert "//" not in page.replace(data_uri(image()), "")


def test_the_browser_is_told_to_load_and_run_nothing(hostile_page):
    policy = next(meta for meta in Elements(hostile_page).named("meta") if "http-equiv" in meta)
    assert policy["content"].startswith("default-src 'none'; img-src data:")


def test_parts_come_in_the_order_given_and_empty_ones_are_no_error():
    sections = [
        Section(title="First", text=["one", "two"], parts=[Table(head=("a",), rows=[("b",)])]),
        Section(title="Second", parts=[Cards(cards=[])]),
    ]
    words = Elements(render_page("Title", sections)).text.split()
    assert words[-6:] == ["First", "one", "two", "a", "b", "Second"]


def test_a_card_shows_its_verdict_and_its_three_likeliest_labels():
    text = " ".join(
        Elements(render_page("Title", [Section(title="", parts=[Cards(cards=[card("dog")])])])).text.split()
    )
    assert "✗ dog, taken for cat" in text
    assert "cat 70% dog 20% fish 8%" in text
    assert "bird" not in text
    assert "in doubt" not in text


@pytest.mark.parametrize(("truth", "verdict"), [("cat", "✓ cat, in doubt"), ("dog", "✗ dog, taken for cat, in doubt")])
def test_a_card_says_that_its_best_label_is_likelier_wrong_than_right(truth, verdict):
    unsure = Ranking(labels=("cat", "dog", "fish"), probabilities=(0.49, 0.3, 0.21))
    shown = Cards(cards=[replace(card(truth), ranking=unsure)])
    assert verdict in " ".join(Elements(render_page("Title", [Section(title="", parts=[shown])])).text.split())


def test_images_of_three_kinds_become_data():
    assert data_uri(image("jpeg")).startswith("data:image/jpeg;base64,/9j/")
    assert data_uri(image("webp")).startswith("data:image/webp;base64,")
    assert data_uri(image("png")).startswith("data:image/png;base64,")


def test_a_thumbnail_keeps_the_shape_and_is_never_enlarged():
    assert Image.open(io.BytesIO(thumbnail(image(size=(40, 20)), side=10))).size == (10, 5)
    assert Image.open(io.BytesIO(thumbnail(image(size=(4, 4)), side=10))).size == (4, 4)


def test_images_are_classified_and_counted(colour_model, tmp_path, paint):
    files = [paint(tmp_path / f"{colour}.png", colour) for colour in ("red", "green", "blue", "white")]
    cards = classified(colour_model, files, truths=["red", "green", "blue", "red"], labels=["red", "green", "blue"])
    assert [card.is_right for card in cards[:3]] == [True, True, True]
    score = score_of([*cards[:3], card("dog", ("cat", "dog", "fish"))])
    assert (score.value, score.n, score.chance) == (0.75, 4, pytest.approx(1 / 3))
    assert score.interval95 == pytest.approx((0.194, 0.994), abs=1e-3)  # Clopper-Pearson for 3 of 4


def pixels(drawing):
    return np.asarray(Image.open(io.BytesIO(drawing.png())).convert("RGB")).astype(int)


@pytest.mark.journey
def test_the_matrix_is_brighter_where_images_and_sentences_agree():
    names = ["a"] * 20 + ["b"] * 20
    agree = pixels(similarity_figure(np.eye(40), rows=names, columns=names))
    yellow, blue = (abs(agree - np.array(colour)).sum(2) < 12 for colour in ((254, 232, 56), (0, 34, 78)))
    # One field in forty agrees; the bar of colours adds a few more of each.
    assert 0.01 < yellow.sum() / blue.sum() < 0.1


@pytest.mark.journey
def test_images_stand_beside_their_rows():
    green = np.zeros((8, 8, 3), np.uint8) + np.array([0, 255, 0], np.uint8)
    shown = pixels(similarity_figure(np.eye(3), rows="abc", columns="abc", images=[green] * 3))
    assert (shown == [0, 255, 0]).all(2).sum() > 1000

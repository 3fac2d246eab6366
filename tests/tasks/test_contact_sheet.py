"""The page of all photos: complete, safe, of one piece, and made piece by piece."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from seesay.base.records import Ranking, Skipped
from seesay.tasks import contact_sheet
from seesay.tasks.answers import Answer, Results
from seesay.tasks.contact_sheet import LEAST_SIDE, SIDE, as_contact_sheet, thumbnail_side

HOSTILE = "</script><script>alert('a')</script>\" onload=\"x <img src=http://evil.example/x>"


class Page(HTMLParser):
    """Tags with their attributes, the cards by name, and the texts."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.cards = [values for tag, values in self.tags if tag == "article"]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if data.strip():
            self.words.append(data.strip())

    def attributes(self, tag: str, name: str) -> list[str]:
        return [values[name] or "" for found, values in self.tags if found == tag and name in values]


def answer(path: Path | str, first: float, labels=None, *, best="cat", several=False) -> Answer:
    ranking = Ranking(labels=(best, "dog" if best == "cat" else "cat"), probabilities=(first, 1 - first))
    return Answer(photo=str(path), ranking=ranking, labels=labels, is_multi_label=several)


def page_of(rows, labels=("cat", "dog")) -> tuple[Page, str]:
    text = "".join(as_contact_sheet(Results(rows=lambda: iter(rows), model="box", labels=labels)))
    return Page(text), text


@pytest.fixture
def rows(tmp_path: Path, paint) -> list[Answer | Skipped]:
    names = [paint(tmp_path / "album" / name, "red") for name in ("a.png", "b/c.png", "b/d.png")]
    broken = Skipped(key=str(tmp_path / "album" / "e.png"), reason="empty file")
    return [answer(names[0], 0.9), answer(names[1], 0.4), broken, answer(names[2], 0.8, best="dog")]


def test_every_photo_has_a_card_with_a_thumbnail_labels_and_bars(rows):
    page, text = page_of(rows)
    assert [card["class"] for card in page.cards] == ["card l0", "card doubt l0", "card broken", "card l1"]
    assert [card["style"] for card in page.cards] == ["--sure:900", "--sure:400", "--sure:-1", "--sure:800"]
    assert re.findall(r'class="name">(.*?)<', text) == ["a.png", "b/c.png", "e.png", "b/d.png"]
    assert page.attributes("i", "style")[:2] == ["width:90.0%", "width:10.0%"]
    assert {"in doubt", "empty file", "no image"} <= set(page.words)
    images = page.attributes("img", "src")
    assert len(images) == 3
    with Image.open(io.BytesIO(base64.b64decode(images[0].removeprefix("data:image/webp;base64,")))) as image:
        assert max(image.size) <= SIDE


def test_the_filter_names_every_group_with_its_number_and_works_by_css(rows):
    page, text = page_of(rows)
    assert page.words[page.words.index("all photos (4)") :][:5] == [
        "all photos (4)",
        "not readable (1)",
        "in doubt (1)",
        "cat (2)",
        "dog (1)",
    ]
    assert 'body:has(option[value="l1"]:checked) .card:not(.l1) { display: none; }' in text
    assert "In doubt: 1, whose best label has less than 50\N{NO-BREAK SPACE}%. Not readable: 1." in text


def test_a_photo_with_several_labels_or_none_is_found_under_them(tmp_path: Path, paint):
    path = paint(tmp_path / "a.png", "red")
    two, none = answer(path, 0.7, ("cat", "dog"), several=True), answer(path, 0.7, (), several=True)
    page, _ = page_of([two, none])
    assert [card["class"] for card in page.cards] == ["card l0 l1", "card none"]
    assert "no label" in page.words
    page, _ = page_of([answer(path, 0.7, ())])
    assert "none of these" in page.words and "1 photo, 2 labels" in page.words


def test_rare_labels_share_a_choice(tmp_path: Path, paint, monkeypatch):
    monkeypatch.setattr(contact_sheet, "SHOWN_LABELS", 1)
    path = paint(tmp_path / "a.png", "red")
    rows = [answer(path, 0.9), answer(path, 0.9), *(answer(path, 0.9, best=label) for label in ("dog", "cow"))]
    page, text = page_of(rows)
    assert [card["class"] for card in page.cards] == ["card l0", "card l0", "card others", "card others"]
    assert "2 other labels (2)" in text


def test_nothing_comes_from_elsewhere_and_names_cannot_become_markup(tmp_path: Path, paint):
    name = HOSTILE.replace("/", "∕")
    rows = [
        answer(paint(tmp_path / f"{name}.png", "red"), 0.9, best=HOSTILE),
        Skipped(key=f"x\u202e{HOSTILE}\udce9", reason=HOSTILE, detail=HOSTILE),
    ]
    page, text = page_of(rows, labels=(HOSTILE, "dog"))
    assert text.count("<script") == text.count("</script") == 1
    assert all(address.startswith("data:") for address in page.attributes("img", "src"))
    assert {tag for tag, _ in page.tags}.isdisjoint({"iframe", "object", "link", "base"})
    assert not page.attributes("img", "onload")
    assert "\u202e" not in text and "\\u202e" in text and "\\udce9" in text
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    (policy,) = [words for words in page.attributes("meta", "content") if "default-src" in words]
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_a_photo_that_has_gone_since_has_its_labels_and_says_so(tmp_path: Path):
    page, _ = page_of([answer(tmp_path / "gone.png", 0.9)])
    assert {"missing file", "cat"} <= set(page.words) and not page.attributes("img", "src")


def test_the_page_is_made_piece_by_piece(tmp_path: Path, paint):
    path, taken = paint(tmp_path / "a.png", "red"), 0

    def read():
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield answer(path, 0.9)

    pieces = as_contact_sheet(Results(rows=read, model="box", labels=("cat", "dog")))
    next(pieces), next(pieces)
    # Once through for the top of the page, then two blocks of 64 at most, and the third begun.
    assert taken <= 1000 + 3 * 64
    pieces.close()


def test_many_thumbnails_are_smaller_ones():
    sides = [thumbnail_side(count) for count in (0, 1, 5_000, 20_000, 10**7)]
    assert sides == [SIDE, SIDE, SIDE, SIDE // 2, LEAST_SIDE]


def test_folders_that_have_nothing_in_common_are_written_out(tmp_path: Path, paint, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paint(Path("a.png"), "red")
    _, text = page_of([answer("a.png", 0.9), answer(tmp_path / "a.png", 0.9)])
    assert re.findall(r'class="name">(.*?)<', text) == ["a.png", str(tmp_path / "a.png")]

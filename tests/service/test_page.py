"""The page in a real browser: search as you type, a photo, more like this, labels with bars, names that are code."""

import pytest
from browser import CHROMIUM, Browser

pytestmark = [
    pytest.mark.journey,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
CODE = '<img src=x onerror="document.title=1">'
NAMES = "[...document.querySelectorAll('#photos .name')].map((name) => name.textContent)"
BARS = (
    "[...document.querySelectorAll('#bars li')].map((bar) => [bar.dataset.label, bar.querySelector('progress').value])"
)


@pytest.fixture
def page(tmp_path):
    browser = Browser(tmp_path / "profile")
    yield browser
    browser.close()


def open_page(page, client):
    address = f"http://127.0.0.1:{client.port}"
    page.call("Page.navigate", url=address)
    page.wait("document.readyState === 'complete' && document.activeElement.id === 'words'")
    return address


def test_the_page_searches_by_words_a_photo_and_one_that_was_found_and_asks_nobody_else(client, page, photos):
    address = open_page(page, client)
    page.type("red")
    page.wait("document.querySelectorAll('#photos img').length === 4")
    assert page.run(NAMES)[:2] == ["red.png", "yellow.jpg"]
    assert "4 photos, best first" in page.run("document.getElementById('status').textContent")
    page.wait("[...document.querySelectorAll('#photos img')].every((image) => image.naturalWidth > 0)")
    page.run("document.querySelector('#photos button').focus()")
    page.press("ArrowRight")
    page.press("Enter", "\r")
    page.wait("!document.getElementById('query').hidden")
    page.wait(f"{NAMES}.length === 3")
    assert "like below/yellow.jpg" in page.run("document.getElementById('query').textContent")
    page.choose_file("#like-file", photos / "blue.png")
    page.wait(f"{NAMES}[0] === 'blue.png'")
    asked = page.addresses()
    assert asked and [each for each in asked if not each.startswith((address, f"blob:{address}", "about:"))] == []
    assert [event for event in page.events if event["method"] == "Log.entryAdded"] == []


def test_labels_move_the_bars(client, page, photos):
    open_page(page, client)
    page.run("document.getElementById('tab-classify').click()")
    page.choose_file("#photo-file", photos / "green.png")
    page.run("document.getElementById('labels').value = ''; document.getElementById('labels').focus()")
    page.type("red\ngreen")
    page.wait(f"{BARS}.length === 2")
    assert page.run(BARS)[0][0] == "green" and page.run(BARS)[0][1] > 0.9
    page.type(f"\n{CODE}")
    page.wait(f"{BARS}.length === 3")
    assert CODE in [label for label, _ in page.run(BARS)] and page.run("document.title") == "seesay"
    assert page.run("document.querySelectorAll('#bars img').length") == 0


def test_names_of_files_are_shown_and_not_run(serve_model, colour_model, page, tmp_path, paint):
    from seesay.index.photo_index import PhotoIndex

    names = [CODE, "<script>document.title=2<", "a&amp;<b>"]
    for name in names:
        paint(tmp_path / "odd" / f"{name}.png", "red", side=16)
    index = PhotoIndex.create(tmp_path / "odd-index", tmp_path / "odd", colour_model)
    index.refresh()
    open_page(page, serve_model(colour_model, index))
    page.type("red")
    page.wait(f"{NAMES}.length === 3")
    assert sorted(page.run(NAMES)) == sorted(f"{name}.png" for name in names)
    assert page.run("document.title") == "seesay" and page.run("document.scripts.length") == 1
    # The policy holds even for what would get in.
    page.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=3\">')")
    page.run("new Promise((done) => setTimeout(done, 200))")
    assert page.run("document.title") == "seesay"


def test_a_service_with_a_token_asks_for_it_and_shows_its_thumbnails(serve_model, colour_model, index, page):
    open_page(page, serve_model(colour_model, index, token="a-token-of-enough-letters"))
    page.type("red")
    page.wait("!document.getElementById('unlock').hidden")
    page.run("document.getElementById('token').focus()")
    page.type("a-token-of-enough-letters")
    page.press("Enter", "\r")
    page.wait("[...document.querySelectorAll('#photos img')].filter((image) => image.naturalWidth > 0).length === 4")
    assert page.run("document.getElementById('unlock').hidden")

"""What the service answers: vectors, labels, photos, and what a caller is told where it cannot."""

import base64
import json

import numpy as np
import pytest
from PIL import Image

from seesay.base.errors import RefusedInput
from seesay.index import photo_index
from seesay.service import guard

SQUARES = {"red": [1, 0, 0], "green": [0, 1, 0], "blue": [0, 0, 1]}


def names(answer):
    return [photo["path"] for photo in answer.json["photos"]]


@pytest.mark.journey
def test_texts_and_images_become_unit_vectors_in_their_order(client, png):
    answer = client.post("/v1/embed", {"texts": ["blue", "red"], "images": [base64.b64encode(png("red")).decode()]})
    assert answer.status == 200 and answer.json["width"] == 3 and answer.json["model"] == "colours"
    assert np.allclose(answer.json["texts"], [SQUARES["blue"], SQUARES["red"]])
    assert np.allclose(answer.json["images"], [SQUARES["red"]])
    assert np.allclose(client.upload("/v1/embed", ("images", png("blue"))).json["images"], [SQUARES["blue"]])


@pytest.mark.journey
@pytest.mark.parametrize("form", ["float", "base64"])
def test_embeddings_have_the_form_of_openais_service(client, form):
    asked = {"model": "colours", "input": ["red", "green"], "encoding_format": form}
    answer = client.post("/v1/embeddings", asked).json
    assert answer["object"] == "list" and answer["model"] == "colours" and set(answer["usage"]) >= {"prompt_tokens"}
    assert [item["index"] for item in answer["data"]] == [0, 1]
    rows = [item["embedding"] for item in answer["data"]]
    if form == "base64":
        rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in rows]
    assert np.allclose(rows, [SQUARES["red"], SQUARES["green"]])


@pytest.mark.journey
def test_another_model_than_the_one_that_is_served_is_refused(client):
    assert client.post("/v1/embeddings", {"model": "other", "input": "red"}).status == 404
    assert json.loads(client("GET", "/v1/models").body)["data"][0]["id"] == "colours"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"input": [31, 5]}, "input: it holds token ids, whose vocabulary is not this model's; send texts."),
        ({"input": [[31, 5], [7]]}, "OpenAIEmbeddings(check_embedding_ctx_length=False)"),
        ({"input": [[31] * 3000] * 3}, "input: it holds token ids"),
        ({"input": ["red", 3]}, "input.1: it should be text"),
        ({"input": ["red", [3]]}, "input.1: it should be text"),
        ({"input": 3}, "input: it should be a text, or a list of texts."),
        ({"input": []}, "input: it should be at least 1 long"),
        ({"input": ""}, "input.0: it should be text of 1 or more letters."),
        ({"input": "red", "dimensions": 2}, "vectors of colours have 3 numbers, and 2 are asked for."),
        ({"input": "red", "dimensions": 0}, "vectors of colours have 3 numbers, and 0 are asked for."),
        ({"input": "red", "encoding_format": "int8"}, "encoding_format: it should be 'float' or 'base64'."),
        ({"input": "red", "user": 3}, "user: it should be text"),
        ({"input": "red", "task": "query"}, "task: there is no such field."),
    ],
)
def test_what_openais_form_may_hold_and_cannot_be_answered_is_400_in_one_line(shared_client, asked, message):
    answer = shared_client.post("/v1/embeddings", {"model": "colours"} | asked)
    assert answer.status == 400 and message in answer.json["error"]["message"]


def test_a_text_that_looks_like_token_ids_is_a_text(shared_client):
    texts = ['"input": [1', "[1, 2]"]
    asked = {"model": "colours", "input": texts, "user": "somebody", "dimensions": 3}
    assert len(shared_client.post("/v1/embeddings", asked).json["data"]) == 2


def test_a_model_trained_for_shorter_rows_gives_them_where_they_are_asked_for(serve_model, colour_model):
    colour_model.architecture.widths = (2, 3)
    client = serve_model(colour_model)
    asked = {"model": "colours", "input": ["red", "yellow"], "dimensions": 2}
    rows = [item["embedding"] for item in client.post("/v1/embeddings", asked).json["data"]]
    assert np.allclose(rows, [[1, 0], [2**-0.5, 2**-0.5]])
    refused = client.post("/v1/embeddings", asked | {"dimensions": 1})
    assert refused.status == 400 and "have 2 or 3 numbers" in refused.json["error"]["message"]


@pytest.mark.journey
def test_more_texts_than_a_batch_come_back_in_their_order(client):
    texts = [list(SQUARES)[index % 3] for index in range(200)]
    rows = client.post("/v1/embed", {"texts": texts}).json["texts"]
    assert np.allclose(rows, [SQUARES[text] for text in texts])


@pytest.mark.journey
def test_a_photo_is_classified_as_the_function_does(client, png, colour_model):
    answer = client.upload("/v1/classify", ("image", png("red")), ("labels", "red"), ("labels", "green"))
    (ranking,) = colour_model.classify([Image.new("RGB", (16, 16), "red")], ["red", "green"])
    found = {each["label"]: each["probability"] for each in answer.json["labels"]}
    assert found == pytest.approx(ranking.to_dict())
    assert [each["label"] for each in answer.json["labels"]] == ["red", "green"]
    asked = {"image": base64.b64encode(png("green")).decode(), "labels": ["red", "green"], "top": 1}
    assert [each["label"] for each in client.post("/v1/classify", asked).json["labels"]] == ["green"]


@pytest.mark.journey
def test_labels_that_cannot_be_told_apart_or_are_alone_are_refused_and_doubles_are_noted(client, png):
    red = ("image", png())
    assert client.upload("/v1/classify", red, ("labels", "red"), ("labels", "RED")).status == 400
    assert client.upload("/v1/classify", red, ("labels", "red")).status == 400
    answer = client.upload("/v1/classify", red, ("labels", "red"), ("labels", "blue"), ("labels", "red"))
    assert "more than once" in answer.json["notes"][0] and len(answer.json["labels"]) == 2
    bad = client.upload("/v1/classify", red, ("labels", "red"), ("labels", "blue"), ("templates", "/etc/passwd"))
    assert bad.status == 400 and "{}" in bad.json["error"]["message"]


@pytest.mark.journey
def test_words_a_photo_and_an_id_find_photos_best_first(client, png):
    answer = client.post("/v1/search", {"text": "red", "top": 2})
    assert names(answer) == ["red.png", "below/yellow.jpg"]
    assert answer.json["photos"][0]["score"] == pytest.approx(1.0, abs=0.02)
    assert names(client.upload("/v1/search", ("image", png("blue")), ("top", 1))) == ["blue.png"]
    like = {"like": answer.json["photos"][0]["id"], "top": 1}
    assert names(client.post("/v1/search", like)) == ["below/yellow.jpg"]
    assert names(client.post("/v1/search", {"text": "red", "plus": ["green"], "top": 1})) == ["below/yellow.jpg"]
    assert client.post("/v1/search", {"text": "red", "minus": ["red"]}).status == 422
    assert client.post("/v1/search", {"like": 99}).status == 404


@pytest.mark.journey
def test_texts_that_lose_their_end_are_told(client, colour_model, monkeypatch):
    monkeypatch.setattr("seesay.model.zero_shot.cut_notes", lambda tokenizer, texts: (f"{len(texts)} text is cut",))
    long = " ".join(["red"] * (colour_model.tokenizer.context + 1))
    for path, asked in (
        ("/v1/embed", {"texts": [long, "red"]}),
        ("/v1/search", {"text": long}),
        ("/v1/search", {"text": "red", "plus": [long]}),
        ("/v1/embeddings", {"model": "colours", "input": long}),
    ):
        assert client.post(path, asked).json["notes"] == ["1 text is cut"]
    assert client.post("/v1/embed", {"texts": ["red"]}).json["notes"] == []
    assert "notes" not in client.post("/v1/embeddings", {"model": "colours", "input": "red"}).json


@pytest.mark.journey
def test_a_thumbnail_is_a_jpeg_without_anything_beside_its_pixels(client):
    number = client.post("/v1/search", {"text": "red", "top": 1}).json["photos"][0]["id"]
    answer = client("GET", f"/v1/thumbnails/{number}")
    assert answer.headers["content-type"] == "image/jpeg" and answer.body.startswith(b"\xff\xd8\xff")
    assert b"Exif" not in answer.body
    assert client("GET", "/v1/thumbnails/99").status == 404


@pytest.mark.journey
def test_what_another_process_adds_to_the_index_is_found(client, photos, paint, index, monkeypatch):
    monkeypatch.setattr("seesay.service.answering.LOOK_SECONDS", 0.0)
    assert len(names(client.post("/v1/search", {"text": "white"}))) == 4
    paint(photos / "white.png", "white", side=16)
    index.refresh()
    assert names(client.post("/v1/search", {"text": "white", "top": 1})) == ["white.png"]


@pytest.mark.journey
def test_what_is_asked_while_a_writer_makes_its_snapshot_does_not_stay(client, photos, index, monkeypatch):
    """The version is acknowledged before; who looked in between had the old photos for ever."""
    monkeypatch.setattr("seesay.service.answering.LOOK_SECONDS", 0.0)
    (photos / "red.png").unlink()
    write_scan, seen = photo_index.write_scan, []

    def asked_before(*arguments, **named):
        seen.append(names(client.post("/v1/search", {"text": "red"})))
        return write_scan(*arguments, **named)

    monkeypatch.setattr(photo_index, "write_scan", asked_before)
    index.refresh()
    assert "red.png" in seen[0]
    assert "red.png" not in names(client.post("/v1/search", {"text": "red"}))


def test_without_photos_there_is_no_search_and_everything_else(shared_client, png):
    assert shared_client.post("/v1/search", {"text": "red"}).status == 404
    assert shared_client.upload("/v1/embed", ("images", png("blue"))).status == 200
    assert shared_client("GET", "/healthz").status == shared_client("GET", "/readyz").status == 200


def test_a_model_that_predicts_captions_classifies_and_has_no_embeddings(serve_model, predictor, png):
    client = serve_model(predictor("bag-of-words"))
    assert client.post("/v1/embed", {"texts": ["red"]}).status == 400
    answer = client.upload("/v1/classify", ("image", png()), ("labels", "red dog"), ("labels", "blue dog"))
    assert answer.status == 200 and len(answer.json["labels"]) == 2


def test_what_is_read_without_a_token_has_its_headers_alone_as_well(serve_model, colour_model):
    client = serve_model(colour_model, token="a-token-of-enough-letters", is_loopback=False)
    for path in guard.WITHOUT_TOKEN:
        whole, head = client("GET", path), client("HEAD", path)
        assert (head.status, head.body) == (200, b"") and head.headers["content-length"] == str(len(whole.body)), path
    assert client("HEAD", "/metrics").status == 401


@pytest.mark.journey
def test_measures_count_requests_by_route_and_status(client):
    client.post("/v1/embed", {"texts": ["red"]})
    client("GET", "/nowhere")
    text = client("GET", "/metrics").body.decode()
    assert 'seesay_requests_total{route="/v1/embed",status="200"} 1.0' in text
    assert 'seesay_requests_total{route="other",status="404"} 1.0' in text
    assert "seesay_batch_rows_count 1.0" in text and "seesay_photos 4.0" in text


@pytest.mark.journey
def test_the_description_has_every_route_with_an_example(client):
    description = json.loads(client("GET", "/openapi.json").body)
    posts = {path: item["post"] for path, item in description["paths"].items() if "post" in item}
    assert set(posts) == {"/v1/embed", "/v1/embeddings", "/v1/classify", "/v1/search"}
    for route in posts.values():
        assert route["requestBody"]["content"]["application/json"]["schema"]["examples"]
    assert {"/v1/thumbnails/{number}", "/healthz", "/readyz", "/metrics", "/v1/models"} <= set(description["paths"])


@pytest.mark.journey
def test_an_own_mistake_is_a_number_for_the_caller_and_a_trace_for_the_log(client, monkeypatch, capfd):
    async def broken(*_):
        raise ZeroDivisionError("of /home/somebody")

    monkeypatch.setattr(client.service, "embed", broken)
    answer = client.post("/v1/embed", {"texts": ["red"]})
    assert answer.status == 500 and "somebody" not in str(answer.json)
    assert answer.json["error"]["request_id"] in capfd.readouterr().err


@pytest.mark.journey
def test_a_damaged_index_is_one_line_of_the_log_and_503(client, monkeypatch, capfd):
    def damaged(*_, **named):
        raise RefusedInput("/home/somebody/index is damaged; remove it.")

    monkeypatch.setattr(client.service.index, "search_vector", damaged)
    answer = client.post("/v1/search", {"text": "red"})
    assert answer.status == 503 and answer.headers["retry-after"] and "somebody" not in str(answer.json)
    err = capfd.readouterr().err
    assert "error: /home/somebody/index is damaged; remove it." in err and "Traceback" not in err


def test_a_wrong_field_address_or_method_is_answered_with_those_that_there_are(client, png):
    def message(answer):
        return json.loads(answer.body)["error"]["message"]

    refused = client.post("/v1/search", {"query": "red"})
    assert refused.status == 422 and message(refused).startswith(
        "query: there is no such field. There are text, image,"
    )
    assert message(client.post("/v1/embed", {"text": ["red"]})) == "text: there is no such field. Nearest: texts."
    assert "/openapi.json" in message(client("GET", "/v1/nothing"))
    assert message(client("GET", "/v1/search")) == "GET is no method of this address; it takes POST."
    one = client.upload("/v1/classify", ("image", png("red")), ("labels", "red,green"))
    assert one.status == 400 and "not with commas between" in message(one)
    assert "'evil.example'" in message(client("GET", "/healthz", Host="evil.example"))

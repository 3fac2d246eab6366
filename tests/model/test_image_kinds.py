"""`Model.encode_images` takes an image in any form a Python user has, and skips broken ones where it may."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seesay.base.errors import BrokenSample, UsageError
from seesay.base.records import Skipped
from seesay.model.bundle import Model


def image(index: int = 0) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (18, 22, 3), dtype=np.uint8)


def encoded(image_HW3: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(image_HW3).save(data, "PNG")
    return data.getvalue()


def as_tensor(image_HW3: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image_HW3.transpose(2, 0, 1).copy())


def written_to() -> io.BytesIO:
    """A file in memory that stands at its end, as `save` leaves it."""
    file = io.BytesIO()
    Image.fromarray(image()).save(file, "PNG")
    return file


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_every_kind_of_image_gives_the_row_of_the_array(model: Model, mode: str, tmp_path: Path):
    path = tmp_path / "x.png"
    path.write_bytes(encoded(image()))
    with path.open("rb") as file:
        kinds = [
            as_tensor(image()),
            as_tensor(image()).permute(1, 2, 0).contiguous().permute(2, 0, 1),
            io.BytesIO(encoded(image())),
            written_to(),
            file,
            bytearray(encoded(image())),
            memoryview(encoded(image())),
            Image.fromarray(image()),
        ]
        rows_ND = model.with_preprocess(mode).encode_images(kinds)
    expected_1D = model.with_preprocess(mode).encode_images([image()])
    torch.testing.assert_close(rows_ND, expected_1D.expand(len(kinds), -1), rtol=0, atol=1e-6)


def test_a_batch_a_generator_and_an_array_of_paths_are_several_images(model: Model, tmp_path: Path):
    for index in range(3):
        (tmp_path / f"{index}.png").write_bytes(encoded(image(index)))
    paths = [str(tmp_path / f"{index}.png") for index in range(3)]
    expected_ND = model.encode_images([image(index) for index in range(3)])
    several = [
        torch.stack([as_tensor(image(index)) for index in range(3)]),
        np.stack([image(index) for index in range(3)]),
        (image(index) for index in range(3)),
        tuple(paths),
        np.array(paths),
        np.array(paths, dtype=object),
        iter(paths),
    ]
    for images in several:
        torch.testing.assert_close(model.encode_images(images), expected_ND, rtol=0, atol=1e-6)


def test_grey_and_four_channel_tensors_are_taken(model: Model):
    grey_HW = image()[:, :, 0]
    rows_ND = model.encode_images([torch.from_numpy(grey_HW.copy())[None], grey_HW])
    torch.testing.assert_close(rows_ND[0], rows_ND[1])
    rgba_HW4 = np.dstack([image(), image(1)[:, :, 0]])
    rows_ND = model.encode_images([as_tensor(rgba_HW4), rgba_HW4])
    torch.testing.assert_close(rows_ND[0], rows_ND[1])


@pytest.mark.parametrize(
    "single",
    [as_tensor(image()), Image.fromarray(image()), io.BytesIO(encoded(image())), "dog.jpg", Path("dog.jpg"), b"x"],
    ids=lambda single: type(single).__name__,
)
def test_one_image_is_told_to_be_wrapped_in_a_list(model: Model, single):
    with pytest.raises(TypeError, match="takes a list of images; wrap the single one in a list"):
        model.encode_images(single)


@pytest.mark.parametrize("wrong", [None, 3, {"a.png", "b.png"}, {"a.png": 1}])
def test_what_has_no_order_or_no_images_is_refused(model: Model, wrong):
    with pytest.raises(TypeError, match="takes a list of images, each a path"):
        model.encode_images(wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (as_tensor(image()) / 255, r"not float32 of shape \(3, 18, 22\)"),
        (torch.from_numpy(image()), r"not uint8 of shape \(18, 22, 3\).*tensor\.numpy"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "of shape"),
        (torch.zeros(3, 0, 4, dtype=torch.uint8), "of shape"),
        (None, "an image is a path, .* not None"),
        (3, r"not 3 \(int\)"),
        (io.StringIO("x"), "open for text"),
    ],
)
def test_what_is_no_image_is_refused_with_what_an_image_is(model: Model, wrong, message: str):
    with pytest.raises(UsageError, match=message):
        model.encode_images([wrong])


def test_a_closed_file_is_a_line_of_ours(model: Model, tmp_path: Path):
    (tmp_path / "x.png").write_bytes(encoded(image()))
    with (tmp_path / "x.png").open("rb") as file:
        pass
    with pytest.raises(UsageError, match="cannot be read"):
        model.encode_images([file])


# One that is broken


BROKEN = [image(0), b"no image", "no-such.png", encoded(image(1))[:60], image(2)]


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_skipped_images_have_a_row_of_nan_and_are_counted_in_one_warning(model: Model, batch_size: int):
    with pytest.warns(UserWarning, match="skipped 3 of 5 images, whose rows are NaN: ") as warned:
        rows_ND = model.encode_images(BROKEN, batch_size=batch_size, on_error="skip")
    message = str(warned[0].message)
    assert "1 x missing file" in message and "no-such.png" in message and "image 1" in message
    assert len(warned) == 1 and warned[0].filename == __file__
    assert rows_ND.isnan().any(1).tolist() == [False, True, True, True, False]
    torch.testing.assert_close(rows_ND[[0, 4]], model.encode_images([image(0), image(2)]), rtol=0, atol=1e-6)


def test_a_function_gets_every_skipped_image_and_nothing_is_warned_of(model: Model):
    skipped: list[Skipped] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.encode_images(BROKEN, on_error=skipped.append)
        whole_ND = model.encode_images([image(0)], on_error="skip")
    assert [(item.key, item.reason) for item in skipped] == [
        ("1", "not an image"),
        ("2", "missing file"),
        ("3", "truncated image"),
    ]
    assert skipped[1].location == "no-such.png" and not whole_ND.isnan().any()


def test_where_all_are_broken_all_rows_are_nan(model: Model):
    with pytest.warns(UserWarning, match="skipped 2 of 2"):
        rows_ND = model.encode_images([b"x", None], on_error="skip")
    assert rows_ND.shape == (2, 8) and rows_ND.isnan().all()


def test_rows_that_are_nan_are_not_ranked(model: Model):
    rows_ND = model.encode_images([image(), b"x"], on_error=lambda item: None)
    with pytest.raises(UsageError, match="1 of 2 rows are NaN"):
        model.classifier(["dog", "cat"]).rank(rows_ND)


def test_without_a_wish_the_first_broken_image_ends_the_work(model: Model):
    with pytest.raises(BrokenSample, match="image 1"):
        model.encode_images(BROKEN)
    with pytest.raises(UsageError, match="on_error is 'ignore'"):
        model.encode_images(BROKEN, on_error="ignore")  # pyright: ignore[reportArgumentType]


# Labels and texts that are no words


@pytest.mark.parametrize("labels", [[0, 1], ["cat", None], ["cat", 1.5], ["cat", b"dog"], [["cat"], "dog"]])
def test_labels_that_are_no_strings_are_refused_by_number(model: Model, labels):
    with pytest.raises(TypeError, match=r"labels are strings, but number [12] of 2 is "):
        model.classify([image()], labels)


@pytest.mark.parametrize("texts", [[0, 1], ["cat", None], 3, None, b"cat"])
def test_texts_and_class_names_that_are_no_strings_are_refused(model: Model, texts):
    with pytest.raises(TypeError, match=r"texts are (strings|a list of strings)"):
        model.encode_texts(texts)


def test_class_names_that_are_numbers_are_refused(model: Model):
    with pytest.raises(TypeError, match=r"not 0 \(int\)"):
        model.classifier([0, 1])  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"number 2 of 2 is 7 \(int\)"):
        model.classifier(["dog", ["cat", 7]])  # pyright: ignore[reportArgumentType]


@pytest.mark.filterwarnings("ignore:.* cut at the 8 tokens")
def test_generators_of_texts_and_labels_are_taken(model: Model):
    assert torch.equal(model.encode_texts(text for text in ["a", "b"]), model.encode_texts(["a", "b"]))
    assert model.classify([image()], (label for label in ["dog", "cat"])) == model.classify([image()], ["dog", "cat"])

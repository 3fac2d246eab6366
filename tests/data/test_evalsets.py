"""Labelled sets from class folders and tar shards, and captioned sets."""

from pathlib import Path

import pytest

from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.data.evalsets import name_of_set, open_evalset, open_train_part
from seesay.data.labelled import LabelledSet
from seesay.data.sources import PairList


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def contents(labelled) -> list[tuple[str, str, bytes]]:
    assert isinstance(labelled, LabelledSet)
    return [
        (labelled.key(index), labelled.class_names[labelled.label(index)], labelled.image(index))
        for index in range(len(labelled))
    ]


def reasons(labelled) -> list[tuple[str, str]]:
    return sorted((problem.key, problem.reason) for problem in labelled.problems)


# Class folders


def test_folders_are_classes_and_underscores_are_spaces(tmp_path):
    write(tmp_path, {"tabby_cat/2.jpg": "c2", "tabby_cat/deep/1.PNG": "c1", "dog/x.webp": "d", "dog/about.md": "-"})
    labelled = open_evalset(tmp_path)
    assert labelled.class_names == ("dog", "tabby cat")
    assert contents(labelled) == [
        ("dog/x.webp", "dog", b"d"),
        ("tabby_cat/2.jpg", "tabby cat", b"c2"),
        ("tabby_cat/deep/1.PNG", "tabby cat", b"c1"),
    ]
    assert labelled.name == tmp_path.name and labelled.templates is None and reasons(labelled) == []


def test_what_is_no_image_of_a_class_is_counted_by_reason(tmp_path):
    write(tmp_path, {"a/1.jpg": "1", "b/1.jpg": "1", "a/2.jpg": "", "a/3.jxl": "1", "stray.png": "1", ".x/1.jpg": "1"})
    (tmp_path / "a" / "4.jpg").symlink_to(tmp_path / "b" / "1.jpg")
    labelled = open_evalset(tmp_path)
    assert len(labelled) == 2 and labelled.class_names == ("a", "b")
    assert reasons(labelled) == [
        ("a/2.jpg", "empty file"),
        ("a/3.jxl", "unsupported format"),
        ("a/4.jpg", "a link, which is not followed"),
        ("stray.png", "image outside a class folder"),
    ]


@pytest.mark.parametrize("broken", [{"empty/notes.md": "x"}, {"empty/1.jpg": ""}, {"empty/1.psd": "x"}])
def test_a_class_folder_without_an_image_is_named(tmp_path, broken):
    with pytest.raises(UsageError, match="without an image that can be read: 'empty'"):
        open_evalset(write(tmp_path, {"full/1.jpg": "1", **broken}))


def test_an_empty_class_folder_and_a_linked_one_are_named(tmp_path):
    write(tmp_path / "set", {"full/1.jpg": "1"})
    write(tmp_path / "other", {"1.jpg": "1"})
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "other")
    (tmp_path / "set" / "bare").mkdir()
    with pytest.raises(UsageError, match="'bare', 'linked'"):
        open_evalset(tmp_path / "set")


def test_two_folders_of_one_name_are_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="both class 'a b'"):
        open_evalset(write(tmp_path, {"a_b/1.jpg": "1", "a b/1.jpg": "1"}))


def test_the_fingerprint_follows_content_and_not_place(tmp_path):
    files = {"a/1.jpg": "1", "b/1.jpg": "1"}
    first = open_evalset(write(tmp_path / "one", files)).fingerprint
    assert len(first) == 64
    assert open_evalset(write(tmp_path / "two", files)).fingerprint == first
    for number, other in enumerate(
        ({**files, "a/1.jpg": "12"}, {"a/1.jpg": "1", "c/1.jpg": "1"}, {**files, "b/2.jpg": "1"})
    ):
        assert open_evalset(write(tmp_path / f"other{number}", other)).fingerprint != first


# Shards with labels


@pytest.mark.parametrize("where", ["", "test"])
def test_shards_with_class_numbers_are_read_there_or_in_test(tmp_path, where, write_tar):
    write(tmp_path, {"classnames.txt": "cat\r\nsea lion\ncat\n\n"})
    write_tar(tmp_path / where / "1.tar", {"k.jpg": b"2", "k.cls": b"2"})
    write_tar(tmp_path / where / "0.tar", {"k.webp": b"0", "k.cls": b"0\n", "m.cls": b"1", "m.png": b"1"})
    labelled = open_evalset(tmp_path)
    assert contents(labelled) == [("0.tar/k", "cat", b"0"), ("0.tar/m", "sea lion", b"1"), ("1.tar/k", "cat", b"2")]
    assert [labelled.label(index) for index in range(3)] == [0, 1, 2]
    assert labelled.name == tmp_path.name and reasons(labelled) == []


def test_templates_beside_the_shards_are_read_in_both_spellings(tmp_path, write_tar):
    write(tmp_path, {"classnames.txt": "cat\n"})
    write_tar(tmp_path / "0.tar", {"k.jpg": b"0", "k.cls": b"0"})
    write(tmp_path, {"zeroshot_classification_templates.txt": "a photo of a {c}.\n\nart of a {}.\n"})
    assert open_evalset(tmp_path).templates == ("a photo of a {}.", "art of a {}.")
    write(tmp_path, {"zeroshot_classification_templates.txt": "a photo.\n"})
    with pytest.raises(UsageError, match="zeroshot_classification_templates"):
        open_evalset(tmp_path)


@pytest.mark.parametrize("label", [b"2", b"-1", b"", b"cat", b"1.0", b"9" * 5000, b"\xff", "\u0661".encode()])
def test_a_label_outside_the_class_names_is_refused_with_its_key(tmp_path, label, write_tar):
    write(tmp_path, {"classnames.txt": "cat\ndog\n"})
    write_tar(tmp_path / "0.tar", {"k.jpg": b"0", "k.cls": label})
    with pytest.raises(RefusedInput, match=r"0\.tar/k\.cls says .* names 2 classes: a label is a number from 0 to 1\."):
        open_evalset(tmp_path)


def test_incomplete_members_are_counted_by_reason(tmp_path, write_tar):
    write(tmp_path, {"classnames.txt": "cat\n"})
    files = {"a.jpg": b"0", "a.cls": b"0", "b.jpg": b"0", "c.cls": b"0", "d.psd": b"0", "d.cls": b"0"}
    write_tar(tmp_path / "0.tar", {**files, "e.jpg": b"", "e.cls": b"0", "../f.jpg": b"0"})
    assert reasons(open_evalset(tmp_path)) == [
        ("0.tar/../f.jpg", "refused member"),
        ("0.tar/b", "image without label"),
        ("0.tar/c", "label without image"),
        ("0.tar/d", "unsupported format"),
        ("0.tar/e", "empty file"),
    ]


def test_class_names_must_have_no_gap_and_be_utf8(tmp_path, write_tar):
    write_tar(tmp_path / "0.tar", {"k.jpg": b"0", "k.cls": b"0"})
    write(tmp_path, {"classnames.txt": "cat\n\ndog\n"})
    with pytest.raises(RefusedInput, match=r"Line 2 of .* is empty"):
        open_evalset(tmp_path)
    (tmp_path / "classnames.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(RefusedInput, match="not UTF-8"):
        open_evalset(tmp_path)
    (tmp_path / "classnames.txt").write_bytes(b"\n")
    with pytest.raises(RefusedInput, match="Line 1 of"):
        open_evalset(tmp_path)


def test_class_names_without_shards_or_without_one_labelled_image_are_usage_errors(tmp_path, write_tar):
    write(tmp_path, {"classnames.txt": "cat\n"})
    with pytest.raises(UsageError, match=r"has classnames\.txt but no \.tar"):
        open_evalset(tmp_path)
    write_tar(tmp_path / "0.tar", {"k.jpg": b"0"})
    with pytest.raises(UsageError, match="1 x image without label"):
        open_evalset(tmp_path)


# Train and test parts


def test_class_folders_in_train_and_test_are_two_sets_of_one_name(tmp_path):
    write(tmp_path, {f"{part}/{label}/1.jpg": part for part in ("train", "test", "val") for label in ("a", "b")})
    assert contents(open_evalset(tmp_path)) == [("a/1.jpg", "a", b"test"), ("b/1.jpg", "b", b"test")]
    assert contents(open_train_part(tmp_path)) == [("a/1.jpg", "a", b"train"), ("b/1.jpg", "b", b"train")]
    assert open_evalset(tmp_path).name == tmp_path.name
    assert open_train_part(tmp_path).name == f"{tmp_path.name}/train"


def test_a_folder_called_as_a_part_is_named_behind_the_one_above_it(tmp_path):
    write(tmp_path, {f"food/{part}/{label}/1.jpg": part for part in ("train", "Test") for label in ("a", "b")})
    write(tmp_path, {"words/val/1.jpg": "1", "words/val/1.txt": "a dog"})
    write(tmp_path, {f"cars/eval/{part}/{label}/1.jpg": part for part in ("train", "test") for label in ("a", "b")})
    assert open_train_part(tmp_path / "cars/eval").name == "cars/eval/train"
    for place in ("food/Test", "food/train", "words/val", "cars/eval"):
        assert open_evalset(tmp_path / place).name == name_of_set(tmp_path / place) == place
    assert open_evalset(tmp_path / "food").name == name_of_set(tmp_path / "food") == "food"


def test_tars_in_train_are_labelled_by_the_same_class_names(tmp_path, write_tar):
    write(tmp_path, {"classnames.txt": "cat\ndog\n"})
    write_tar(tmp_path / "test" / "0.tar", {"k.jpg": b"0", "k.cls": b"0"})
    assert open_train_part(tmp_path) is None
    write_tar(tmp_path / "train" / "0.tar", {"k.jpg": b"1", "k.cls": b"1"})
    assert contents(open_train_part(tmp_path)) == [("0.tar/k", "dog", b"1")]
    assert contents(open_evalset(tmp_path)) == [("0.tar/k", "cat", b"0")]


def test_folders_that_are_only_called_train_and_test_stay_classes(tmp_path):
    write(tmp_path, {"train/1.jpg": "1", "test/1.jpg": "1"})
    assert open_evalset(tmp_path).class_names == ("test", "train")
    assert open_train_part(tmp_path) is None
    write(tmp_path, {"train/old/1.jpg": "1", "boat/1.jpg": "1"})
    assert open_evalset(tmp_path).class_names == ("boat", "test", "train")
    assert open_train_part(tmp_path / "boat" / "1.jpg") is None


PARTS = {f"{part}/{label}/1.jpg": part for part in ("train", "val") for label in ("a", "b")}


@pytest.mark.parametrize(
    ("parts", "measured"),
    [
        (("train", "val"), "val"),
        (("training", "validation"), "validation"),
        (("Train", "Valid"), "Valid"),
        (("train", "dev", "Test"), "Test"),
        (("val", "test"), "test"),
    ],
)
def test_parts_of_any_usual_name_are_parts_and_no_classes(tmp_path, parts, measured):
    write(tmp_path, {f"{part}/{label}/1.jpg": part for part in parts for label in ("a", "b")})
    labelled = open_evalset(tmp_path)
    assert contents(labelled) == [("a/1.jpg", "a", measured.encode()), ("b/1.jpg", "b", measured.encode())]
    assert labelled.notes[0].startswith(f"{measured}/ is measured, ")
    assert (open_train_part(tmp_path) is not None) == parts[0].lower().startswith("train")


@pytest.mark.parametrize("stray", ["loose.jpg", "docs/1.jpg", "train/loose.jpg"])
def test_a_stray_image_does_not_turn_parts_into_classes(tmp_path, stray):
    labelled = open_evalset(write(tmp_path, {**PARTS, stray: "1"}))
    assert labelled.class_names == ("a", "b") and len(labelled) == 2
    beside = [(stray, "image outside the parts")] if not stray.startswith("train/") else []
    assert reasons(labelled) == beside


def test_numbers_are_sorted_as_numbers_and_words_as_words(tmp_path):
    files = {f"{number}/1.jpg": "1" for number in (1, 2, 10, 9)}
    assert open_evalset(write(tmp_path / "numbers", files)).class_names == ("1", "2", "9", "10")
    assert open_evalset(write(tmp_path / "mixed", {**files, "a/1.jpg": "1"})).class_names == ("1", "10", "2", "9", "a")


def test_wordnet_numbers_are_called_as_in_imagenet(tmp_path, write_tar):
    files = {f"{number}/1.jpg": number for number in ("n02690373", "n02124075", "n00000001")}
    labelled = open_evalset(write(tmp_path / "folders", files))
    assert [name for _, name, _ in contents(labelled)] == ["n00000001", "Egyptian Mau", "airliner"]
    assert labelled.notes == (
        "2 of 3 classes are WordNet numbers and called as in ImageNet: n02124075 is 'Egyptian Mau'.",
    )
    write(tmp_path / "shards", {"classnames.txt": "n02504458\ncat\n"})
    write_tar(tmp_path / "shards" / "val" / "0.tar", {"k.jpg": b"0", "k.cls": b"0"})
    assert open_evalset(tmp_path / "shards").class_names == ("African bush elephant", "cat")


def test_what_most_images_are_decides_and_a_text_beside_one_is_said(tmp_path):
    files = {f"{label}/{number}.jpg": "1" for label in ("a", "b") for number in range(2)}
    labelled = open_evalset(write(tmp_path / "one", {**files, "a/0.txt": "0 0.5", "a/.DS_Store": "-"}))
    assert len(labelled) == 4 and labelled.class_names == ("a", "b")
    assert labelled.notes == ("1 text file beside an image of a class folder is not read: 'a/0.txt'.",)
    captions = {name.replace("jpg", "txt"): "a cat" for name in list(files)[:3]}
    pairs = open_evalset(write(tmp_path / "most", {**files, **captions}))
    assert isinstance(pairs, PairList) and len(pairs) == 3
    assert [problem.reason for problem in pairs.problems] == ["image without caption"]


# Captioned sets


def test_pairs_in_folders_below_are_a_captioned_set_and_not_classes(tmp_path):
    captioned = open_evalset(write(tmp_path, {"a/1.jpg": "1", "a/1.txt": "cat", "b/2.jpg": "2", "b/2.txt": "dog"}))
    assert isinstance(captioned, PairList) and len(captioned) == 2


@pytest.mark.parametrize("where", ["", "test"])
def test_shards_without_class_names_are_a_captioned_set(tmp_path, where, write_tar):
    write_tar(tmp_path / where / "0.tar", {"k.jpg": b"0", "k.txt": b"one\ntwo"})
    captioned = open_evalset(tmp_path)
    assert isinstance(captioned, PairList) and captioned.captions(0) == ("one", "two")


def test_a_table_is_a_captioned_set_and_a_missing_place_a_usage_error(tmp_path):
    write(tmp_path, {"x.jpg": "1", "t.csv": "image,caption\nx.jpg,cat\n"})
    assert open_evalset(tmp_path / "t.csv").captions(0) == ("cat",)
    with pytest.raises(UsageError, match=r"Nearest: t\.csv"):
        open_evalset(tmp_path / "tt.csv")
    assert open_evalset(tmp_path).captions(0) == ("cat",)
    (tmp_path / "t.csv").unlink()
    with pytest.raises(UsageError, match="1 image and no captions"):
        open_evalset(tmp_path)


def test_a_folder_that_cannot_be_listed_is_a_storage_error(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(StorageError, match=r"Cannot list .*: Permission denied"):
        open_evalset(tmp_path)

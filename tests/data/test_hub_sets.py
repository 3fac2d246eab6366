"""Data sets of the hub, from a cache that is filled by hand with real Parquet files: no test opens a connection."""

import json
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pyarrow as pa
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import RepositoryNotFoundError
from pyarrow import parquet

from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.data.evalsets import name_of_set, open_evalset, open_train_part
from seesay.data.hub_sets import HubSet, chosen_shards, is_hub_set, read_name, shard_of
from seesay.data.labelled import LabelledSet
from seesay.data.sources import PairList

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAMES = ["red_ball", "blue"]
LABELLED = {"img": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
PICTURE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@pytest.fixture
def hub(tmp_path: Path, monkeypatch) -> Path:
    """The folder of an offline cache's data set somebody/colours."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "datasets--somebody--colours"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    return folder / "snapshots" / COMMIT


def write(path: Path, columns: dict, features: dict | None = None, *, rows_in_group: int = 2) -> Path:
    """A Parquet file with the features in its metadata, as `datasets` writes them."""
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=rows_in_group)
    return path


def images(*contents: bytes | None) -> pa.Array:
    return pa.array(
        [None if content is None else {"bytes": content, "path": "x.png"} for content in contents], type=PICTURE
    )


def test_a_labelled_split_has_its_class_names_and_the_bytes_of_its_images(hub: Path):
    for number, contents in enumerate([[b"a", b"bb", b"ccc"], [b"dddd"]]):
        columns = {"img": images(*contents), "label": [1, 0, 1][: len(contents)]}
        write(hub / "plain_text" / f"test-{number:05}-of-00002.parquet", columns, LABELLED)
    found = open_evalset("hf:somebody/colours:test")
    assert isinstance(found, LabelledSet)
    assert (found.name, found.class_names, len(found)) == ("colours:test", ("red ball", "blue"), 4)
    assert [found.image(place) for place in (3, 0, 2, 1)] == [b"dddd", b"a", b"ccc", b"bb"]
    assert [found.label(place) for place in range(4)] == [1, 0, 1, 1]
    assert name_of_set("hf:somebody/colours:test") == found.name


def test_images_without_a_label_or_bytes_are_counted(hub: Path):
    columns = {"img": images(b"a", None, b"", b"d", b"e"), "label": [0, 0, 1, -1, None]}
    write(hub / "data" / "test-00000-of-00001.parquet", columns, LABELLED)
    found = open_evalset("hf:somebody/colours:test")
    assert len(found) == 1
    assert [item.reason for item in found.problems] == ["label without image"] * 2 + ["image without label"] * 2


def test_captions_are_a_text_or_a_list_of_texts(hub: Path):
    columns = {"image": images(b"a", b"b", b"c"), "caption": [["one", " two "], [], ["three"]]}
    write(hub / "data" / "test-00000-of-00001.parquet", columns)
    found = open_evalset("hf:somebody/colours:test")
    assert isinstance(found, PairList)
    assert [found.captions(place) for place in range(2)] == [("one", "two"), ("three",)]
    assert found[1].image == b"c" and found.problems[0].reason == "image without caption"
    write(hub / "data" / "val-00000-of-00001.parquet", {"image": [b"a"], "text": ["one"]})
    assert open_evalset("hf:somebody/colours:val")[0].captions == ("one",)


def test_columns_are_named_where_they_cannot_be_told(hub: Path):
    names = {"names": ["x", "y"], "_type": "ClassLabel"}
    columns = {"left": images(b"a"), "right": images(b"bb"), "fine": [1], "coarse": [0], "note": ["hello"]}
    features = {"left": {"_type": "Image"}, "right": {"_type": "Image"}, "fine": names, "coarse": names}
    write(hub / "test.parquet", columns, features)
    for options, complaint in [
        ("", r"several that may hold the image; add ,image=NAME, one of: left, right"),
        (",image=left", "several that may hold the label; add ,label=NAME, one of: fine, coarse"),
        (",image=lefd", "no column 'lefd'.*Nearest: left"),
        (",image=left,label=note", "'note' of .* has no class names; those that have: fine, coarse"),
    ]:
        with pytest.raises(UsageError, match=complaint):
            open_evalset(f"hf:somebody/colours:test{options}")
    found = open_evalset("hf:somebody/colours:test,image=right,label=fine")
    assert (found.image(0), found.label(0)) == (b"bb", 1)
    assert open_evalset("hf:somebody/colours:test,image=left,captions=note")[0].captions == ("hello",)


def test_the_train_split_is_what_may_be_learned_from(hub: Path):
    for split in ("train", "test"):
        write(hub / "data" / f"{split}-00000-of-00001.parquet", {"img": images(b"a"), "label": [1]}, LABELLED)
    train = open_train_part("hf:somebody/colours:test")
    assert train is not None and train.name == "colours:train"
    assert open_train_part("hf:somebody/colours:train") is None


def test_what_the_hub_converted_is_read_where_the_repository_has_no_parquet(hub: Path):
    (hub.parents[1] / "refs" / "refs" / "convert").mkdir(parents=True)
    (hub.parents[1] / "refs" / "refs" / "convert" / "parquet").write_text("f" * 40)
    converted = hub.parent / ("f" * 40) / "default" / "test" / "0000.parquet"
    write(converted, {"img": images(b"a"), "label": [1]}, LABELLED)
    (hub / "README.md").parent.mkdir(parents=True)
    assert len(open_evalset("hf:somebody/colours:test")) == 1


@pytest.mark.parametrize(
    ("place", "kind", "complaint"),
    [
        ("hf:somebody/else:test", StorageError, "hf:somebody/else is not in the cache.*HF_HUB_OFFLINE"),
        ("hf:somebody/colours:tset", UsageError, "no split 'tset'; it has test, train. Nearest: test"),
        ("hf:somebody/colours:train", RefusedInput, "is not whole: 1 of 2 files"),
        ("hf:somebody/colours:test,config=b", UsageError, "no config 'b'; it has a"),
        ("hf:a/b/c:test", UsageError, "is no public data set"),
    ],
)
def test_what_is_not_there_is_said_with_the_way_out(hub: Path, place: str, kind, complaint: str):
    for name in ("test-00000-of-00001", "train-00001-of-00002"):
        write(hub / "a" / f"{name}.parquet", {"img": images(b"a"), "label": [1]}, LABELLED)
    with pytest.raises(kind, match=complaint):
        open_evalset(place)


def test_a_damaged_file_and_labels_beyond_the_classes_are_refused(hub: Path):
    write(hub / "test.parquet", {"img": images(b"a"), "label": [2]}, LABELLED)
    with pytest.raises(RefusedInput, match="label 2, but there are 2 classes"):
        open_evalset("hf:somebody/colours:test")
    (hub / "train.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(RefusedInput, match="is no Parquet file"):
        open_evalset("hf:somebody/colours:train")
    write(hub / "val.parquet", {"img": [1], "label": [1]}, {"label": LABELLED["label"]})
    with pytest.raises(RefusedInput, match="holds int64 and no bytes of images"):
        open_evalset("hf:somebody/colours:val")


def test_with_a_network_the_files_of_the_split_alone_are_fetched(tmp_path: Path, monkeypatch):
    path = write(tmp_path / "test.parquet", {"img": images(b"a"), "label": [1]}, LABELLED)
    files = [SimpleNamespace(rfilename=f"data/{split}-00000-of-00001.parquet") for split in ("train", "test")]
    asked = []

    def download(repository, name, **options):
        asked.append((repository, name, options["repo_type"], options["revision"]))
        return str(path)

    info = SimpleNamespace(sha=COMMIT, siblings=[*files, SimpleNamespace(rfilename="README.md")])
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: info)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert len(open_evalset("hf:colours:test")) == 1
    assert asked == [("colours", "data/test-00000-of-00001.parquet", "dataset", COMMIT)]


def test_a_repository_that_is_not_there_is_a_wrong_word(monkeypatch):
    def refuse(*_, **__):
        raise RepositoryNotFoundError("404", response=SimpleNamespace(headers={}, request=None, status_code=404))

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", refuse)
    with pytest.raises(UsageError, match="hf:a/b is no public data set of huggingface"):
        open_evalset("hf:a/b:test")


def test_a_set_is_told_from_a_model_by_its_split():
    assert is_hub_set("hf:a/b:test") and not is_hub_set("hf:a/b") and not is_hub_set("folder:test")
    wanted = read_name("hf:a/b:test,config=c,label=d")
    assert wanted == HubSet(repository="a/b", split="test", config="c", label="d")
    assert str(wanted) == "hf:a/b:test,config=c,label=d"
    for wrong in ("hf:a/b:", "hf::test", "hf:a/b:test,label="):
        with pytest.raises(UsageError, match="should be written hf:OWNER/NAME:SPLIT"):
            read_name(wrong)
    with pytest.raises(UsageError, match=r"'lable' is none of config.*Nearest: label"):
        read_name("hf:a/b:test,lable=d")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("data/test-00001-of-00003.parquet", ("", "test", 1, 3)),
        ("plain_text/my-test-00000-of-00001.parquet", ("plain_text", "my-test", 0, 1)),
        ("default/test/0001.parquet", ("default", "test", 0, 1)),
        ("test.parquet", ("", "test", 0, 1)),
    ],
)
def test_the_path_of_a_file_tells_its_config_and_split(path: str, told: tuple):
    shard = shard_of(path)
    assert shard is not None and (shard.config, shard.split, shard.number, shard.count) == told
    assert shard_of("data/README.md") is None


def test_of_several_versions_one_is_named_and_default_is_the_default():
    shards = [shard_of(f"{config}/test/0000.parquet") for config in ("a", "b")]
    wanted = read_name("hf:x/y:test")
    with pytest.raises(UsageError, match="several versions; name one: config=a, config=b"):
        chosen_shards(shards, wanted)
    assert chosen_shards(shards, read_name("hf:x/y:test,config=b")) == shards[1:]
    default = shard_of("default/test/0000.parquet")
    assert chosen_shards([*shards, default], wanted) == [default]

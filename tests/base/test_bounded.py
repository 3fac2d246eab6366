"""Text files that are larger, longer or deeper than anything they are read for."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seesay.base import bounded
from seesay.base.bounded import parse_json, read_json, read_text, refuse_values, split_lines
from seesay.base.errors import RefusedInput, SeesayError, UsageError
from seesay.base.journal import read_events
from seesay.base.settings import Settings, read_settings
from seesay.data.class_names import read_descriptions
from seesay.data.prompts import load_templates, read_labels
from seesay.evaluation.compare import read_baseline
from seesay.model.hub import load

DEEP = "[" * 100_000


def test_no_more_than_the_limit_is_read(tmp_path: Path):
    (tmp_path / "five").write_bytes(b"\xef\xbb\xbfab")
    assert read_text(tmp_path / "five", limit=5, encoding="utf-8-sig") == "ab"
    with pytest.raises(RefusedInput, match="five has more than 4 bytes"):
        read_text(tmp_path / "five", limit=4)
    with pytest.raises(RefusedInput, match="/dev/zero has more than 67,108,864 bytes"):
        read_text("/dev/zero")


def test_line_ends_are_those_of_a_text_file(tmp_path: Path):
    (tmp_path / "t").write_bytes(b"a\r\nb\rc\n\r\nd")
    assert read_text(tmp_path / "t") == (tmp_path / "t").read_text()


def test_lines_are_counted_before_they_are_made(monkeypatch):
    monkeypatch.setattr(bounded, "LINE_LIMIT", 3)
    assert split_lines("a\nb\u2028c\n", source="t") == ["a", "b", "c"]
    with pytest.raises(RefusedInput, match="t has more than 3 lines"):
        split_lines("a\nb\u2028c\n\n", source="t")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("[1, 2, 3]", 3),
        ('{"a": [1, {}]}', 4),
        ('["a,[{", "b\\",["]', 2),
        ('["a\\\\", 1]', 2),
        ('"' + ",[{" * 50 + '"', 0),
    ],
)
def test_values_are_counted_outside_of_texts(text: str, count: int):
    json.loads(text)
    refuse_values(text, source="t", limit=count)
    if count:
        with pytest.raises(RefusedInput, match=f"t has more than {count - 1:,} values"):
            refuse_values(text, source="t", limit=count - 1)


@pytest.mark.journey
@pytest.mark.parametrize("text", ['"' + "\\" * 5_000_001, '"' + '\\"' * 3_000_000, '"' * 5_000_000, ',"' * 3_000_000])
def test_counting_values_takes_a_time_that_grows_with_the_text(text: str):
    started = time.process_time()
    with pytest.raises(RefusedInput):
        parse_json(text + ",", source="t")
    assert time.process_time() - started < 30


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 100_000, "{", "\udcff", ""])
def test_what_is_no_json_or_too_deep_is_refused_in_one_line(tmp_path: Path, text: str):
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(RefusedInput, match=r"x\.json is no valid JSON") as refused:
        read_json(path)
    assert "\n" not in str(refused.value)


def test_lists_and_objects_have_a_limit_of_their_own():
    text = '[{}, {"a": []}, "[[[["]'
    refuse_values(text, source="t", lists=4)
    with pytest.raises(RefusedInput, match="t has more than 3 lists and objects"):
        refuse_values(text, source="t", lists=3)


class Empty(Settings):
    """No setting at all."""


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a = " + DEEP, "deeper than any setting"),
        ("a = " + '{a = ' * 20_000, "deeper than any setting"),
        (".".join(["a"] * 500_000) + " = 1", "a name of more than 40 parts"),
        ("[" + ".".join(['"a"'] * 60) + "]", "a name of more than 40 parts"),
        ("#" * 1_100_000, "more than 1,048,576 bytes"),
    ],
)  # fmt: skip
def test_settings_too_deep_or_too_long_are_refused_in_one_line(tmp_path: Path, text: str, complaint: str):
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(RefusedInput, match=complaint):
        read_settings(Empty, file=tmp_path / "x.toml")


@pytest.mark.parametrize("override", ["a=" + DEEP[:5000], ".".join(["a"] * 5000) + "=1"])
def test_an_override_too_deep_is_refused_in_one_line(override: str):
    with pytest.raises(RefusedInput, match="a setting has values in values"):
        read_settings(Empty, file=None, overrides=[override])


@pytest.mark.journey
@pytest.mark.parametrize("read", [read_descriptions, read_baseline, read_labels])
def test_every_list_that_a_user_names_is_bounded(tmp_path: Path, read):
    path = tmp_path / "x"
    path.write_text("[" + "[],\n" * 5_000_000)
    with pytest.raises(RefusedInput, match="more than"):
        read(path)
    path.write_text(DEEP)
    if read is not read_labels:
        with pytest.raises(UsageError):
            read(path)


def test_events_of_a_stranger_are_read_line_by_line(tmp_path: Path):
    (tmp_path / "e").write_text(
        '{"step": 1}\n' + DEEP + '\n"' + "x" * 3_000_000 + '"\n\udcff\n{"step": 2}\n{"st', errors="replace"
    )
    assert [event for event in read_events(tmp_path / "e") if isinstance(event, dict)] == [{"step": 1}, {"step": 2}]


def test_templates_are_as_many_as_somebody_may_want():
    assert len(load_templates(["{}"] * 10_000)) == 10_000
    with pytest.raises(UsageError, match="holds 10,001 templates; give at most 10,000"):
        load_templates(["{}"] * 10_001)


BOMBS = {
    "templates": '"templates": ["{}"' + ',"{}"' * 12_000_000 + "]",
    "facts": '"facts": {"a": [' + "[]," * 19_000_000 + "1]}",
    "facts of objects": '"facts": {"a": [' + '{"a":0},' * 7_000_000 + "1]}",
    "as many as are read": '"facts": {"a": [' + '{"a":0,"b":1},' * 100_000 + "1" + ",11" * 700_000 + "]}",
    "deep": '"facts": ' + '{"a":' * 10_000_000,
}
CHILD = """
import resource, sys
from seesay.base.memory import peak_memory
from seesay.base.errors import RefusedInput
from seesay.model.hub import load
before = peak_memory()
resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, 4 << 30))
try:
    load(sys.argv[1])
except RefusedInput as error:
    print((peak_memory() - before) >> 20, str(error)[-200:])
"""


@pytest.mark.journey
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_model_folder_of_sixty_megabytes_of_json_is_refused(tmp_path: Path, bomb: str):
    (tmp_path / "model.json").write_text('{"format": 1, ' + BOMBS[bomb] + "}")
    done = subprocess.run([sys.executable, "-c", CHILD, tmp_path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    peak, _, complaint = done.stdout.partition(" ")
    assert int(peak) < 500, complaint  # 1.5 GB before


def test_a_deep_description_of_a_model_is_refused(tmp_path: Path):
    (tmp_path / "model.json").write_text('{"format": 1, "facts": ' + DEEP)
    with pytest.raises(SeesayError, match=r"model\.json is no valid JSON"):
        load(str(tmp_path))

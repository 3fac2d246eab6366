"""The reader of Thrift's compact protocol, against bytes written by hand."""

import pytest

from seesay.data.thrift import ThriftReader

# Field 1: the number 150; 2: the bytes "ab"; 3: a struct with -1 as field 20; 4: a list of two such; 5: true.
STRUCT = b"\x06\x28\x01\x00"
DATA = b"\x16\xac\x02" + b"\x18\x02ab" + b"\x1c" + STRUCT + b"\x19\x2c" + STRUCT * 2 + b"\x11" + b"\x00"
WANTED = {1: None, 2: None, 3: {20: None}, 4: [{20: None}]}


def test_wanted_fields_are_read_and_others_are_passed():
    reader = ThriftReader(DATA + b"behind")
    assert reader.struct(WANTED) == {1: 150, 2: b"ab", 3: {20: -1}, 4: [{20: -1}, {20: -1}]}
    assert reader.position == len(DATA)
    assert ThriftReader(DATA).struct({4: [{}]}) == {4: [{}, {}]}
    assert ThriftReader(DATA).struct({}) == {}


@pytest.mark.parametrize("end", range(len(DATA)))
def test_data_that_ends_early_is_an_index_error(end: int):
    with pytest.raises(IndexError):
        ThriftReader(DATA[:end]).struct(WANTED)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"\x1c" * 100_000, {}),
        (b"\x19\x19" + b"\x19" * 100_000, {1: [{}]}),
        (b"\x19\x19" + b"\x19" * 100_000, {}),
        (b"\x19\xfc\x80\x80\x40" + bytes(1 << 20), {1: [{}]}),
        (b"\x19\xf5\x80\x80\x40" + bytes(1 << 20), {1: [None]}),
        (b"\x16" + b"\xff" * 20, {1: None}),
        (b"\x16" + b"\xff" * 20, {}),
        (b"\x1f", {}),
        (b"\x1c", {1: None}),
        (b"\x1c", {1: [{}]}),
        (b"\x19\x2c", {1: {}}),
        (b"\x16\x02", {1: {}}),
    ],
)
def test_what_no_writer_writes_is_a_value_error_and_no_memory(data: bytes, wanted: dict):
    with pytest.raises(ValueError):
        ThriftReader(data).struct(wanted)

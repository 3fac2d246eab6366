"""Weights come back bit for bit, and a file that is not whole or not the one expected is refused by name."""

import json
import random
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from seesay.base.errors import RefusedInput
from seesay.model.weights import HEADER_LIMIT, read_header, read_tensors, write_tensors

MUTATIONS = 500


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "tower.weight": torch.randn(3, 4, generator=generator),
        "tower.kernel": torch.randn(2, 3, 3, 3, generator=generator).to(memory_format=torch.channels_last),
        "tower.count": torch.tensor(7),
        "scale": torch.tensor(2.6593),
        "nothing": torch.empty(0, 4),
    }


def on_meta() -> dict[str, torch.Tensor]:
    return {name: tensor.to("meta") for name, tensor in tensors().items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "w.safetensors").write_bytes(write_tensors(tensors()))
    return tmp_path / "w.safetensors"


def with_header(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: object, shape: object, *offsets: object) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


def test_tensors_come_back_equal_to_the_last_bit_and_as_the_format_says(path: Path):
    found, by_the_library = read_tensors(path, on_meta()), load_file(path)
    assert found.keys() == tensors().keys() == by_the_library.keys()
    for name, tensor in tensors().items():
        assert torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype, name
        assert torch.equal(by_the_library[name], tensor), name
        assert tuple(read_header(path)[name]["shape"]) == tensor.shape


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_read_as_float32_and_whole_numbers_are_not_rounded(dtype, path: Path):
    path.write_bytes(write_tensors(tensors(), dtype=dtype))
    for name, tensor in read_tensors(path, on_meta()).items():
        expected = tensors()[name]
        assert torch.equal(tensor, expected.to(dtype).float() if expected.is_floating_point() else expected), name


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.pop("scale"), r"missing scale \(\)"),
        (lambda t: t.update(foreign=torch.ones(2)), r"unexpected foreign \(2,\)"),
        (lambda t: t.update(scale=torch.ones(1)), r"scale is \(1,\), expected \(\)"),
        (lambda t: t.update({"tower.weight": torch.ones(4, 3)}), r"tower\.weight is \(4, 3\), expected \(3, 4\)"),
        (lambda t: t.update(scale=torch.tensor(2)), r"scale holds I64, expected torch\.float32"),
        (lambda t: t.update(scale=torch.tensor(True)), "scale holds BOOL"),
        (lambda t: t.update(scale=torch.tensor(1j)), "scale holds C64"),
        (lambda t: t.update({"tower.count": torch.tensor(1.5)}), r"tower\.count holds F32, expected torch\.int64"),
        (lambda t: t.update(scale=torch.tensor(float("nan"))), "scale holds numbers that are not finite"),
        (lambda t: t.update(scale=torch.tensor(1e300, dtype=torch.float64)), "scale holds numbers that are not finite"),
    ],
)
def test_what_does_not_fit_is_named_with_the_file(change, told: str, path: Path):
    changed = {name: tensor.contiguous() for name, tensor in tensors().items()}
    change(changed)
    save_file(changed, path)
    with pytest.raises(RefusedInput, match=told) as refused:
        read_tensors(path, on_meta())
    assert str(path) in str(refused.value)


def test_more_than_ten_faults_are_counted_and_not_listed(path: Path):
    save_file({f"tensor{index}": torch.ones(1) for index in range(40)}, path)
    with pytest.raises(RefusedInput, match=r"and 35 more\.$"):
        read_tensors(path, on_meta())


@pytest.mark.journey
def test_a_file_cut_anywhere_or_longer_than_it_says_is_refused(path: Path):
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(RefusedInput, match=r"w\.safetensors"):
            read_tensors(path, on_meta())
    path.write_bytes(whole + b"\0")
    with pytest.raises(RefusedInput, match="truncated or damaged"):
        read_tensors(path, on_meta())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        struct.pack("<Q", 2**63),
        struct.pack("<Q", HEADER_LIMIT + 1) + b" " * (HEADER_LIMIT + 1),
        with_header(b"{}"),
        with_header(b"[]"),
        with_header(b"null"),
        with_header(b"\xff\xff"),
        with_header(b"[" * 50_000),
        with_header(b'{"a":' + b"9" * 5000 + b"}"),
        with_header({"scale": 3}),
        with_header({"scale": {}}),
        with_header({"scale": entry("F32", [], 0, -4)}),
        with_header({"scale": entry("F32", [], 0)}),
        with_header({"scale": entry("F32", [1.0], 0, 4)}, b"abcd"),
        with_header({"scale": entry("F32", "ab", 0, 4)}, b"abcd"),
        with_header({"scale": entry(["F32"], [], 0, 4)}, b"abcd"),
        with_header({"scale": entry("F31", [], 0, 4)}, b"abcd"),
        with_header({"scale": entry("F32", [], 4, 8)}, b"abcdefgh"),
        with_header({"scale": entry("F32", [], 0, 10**18)}, b"abcd"),
        with_header({"scale": entry("F32", [], 0, 2)}, b"ab"),
    ],
)
def test_a_header_that_lies_is_refused(data: bytes, path: Path):
    path.write_bytes(data)
    with pytest.raises(RefusedInput, match=r"w\.safetensors"):
        read_tensors(path, {"scale": torch.tensor(1.0)})


def test_a_folder_in_place_of_the_file_is_refused(path: Path):
    path.unlink()
    path.mkdir()
    with pytest.raises(RefusedInput, match=r"w\.safetensors is missing"):
        read_tensors(path, on_meta())


def mutated(whole: bytes, generator: random.Random) -> bytes:
    """A few bytes changed, cut out, put in or swapped; most of them in the header, where they mean most."""
    data = bytearray(whole)
    for _ in range(generator.randint(1, 4)):
        at = generator.randrange(len(data) if generator.random() < 0.3 else min(len(data), 450))
        kind = generator.randrange(5)
        if kind == 0:
            data[at] ^= 1 << generator.randrange(8)
        elif kind == 1:
            data[at] = generator.choice(b'0123456789-.,:{}[]"e')
        elif kind == 2:
            del data[at : at + generator.randint(1, 9)]
        elif kind == 3:
            data[at:at] = generator.choice([b"0", b"9", b'"a":1,', b"[", b"\0" * 8, data[:40]])
        else:
            other = generator.randrange(len(data))
            data[at], data[other] = data[other], data[at]
    return bytes(data)


@pytest.mark.journey
def test_five_hundred_damaged_files_are_refused_or_harmless(path: Path):
    whole, generator, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(MUTATIONS):
        path.write_bytes(mutated(whole, generator))
        try:
            found = read_tensors(path, on_meta())
        except RefusedInput as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
            continue
        # Without a checksum a changed number cannot be told from a learned one, but nothing else may have changed.
        for name, tensor in tensors().items():
            assert found[name].shape == tensor.shape and found[name].dtype == tensor.dtype
            assert torch.isfinite(found[name]).all()
    assert refused > 0.8 * MUTATIONS


def test_with_a_checksum_every_flipped_bit_is_refused(path: Path):
    import hashlib

    whole, generator = path.read_bytes(), random.Random(1)
    sha256 = hashlib.sha256(whole).hexdigest()
    assert read_tensors(path, on_meta(), sha256=sha256).keys() == tensors().keys()
    for _ in range(100):
        data = bytearray(whole)
        data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        path.write_bytes(data)
        with pytest.raises(RefusedInput, match=r"w\.safetensors"):
            read_tensors(path, on_meta(), sha256=sha256)

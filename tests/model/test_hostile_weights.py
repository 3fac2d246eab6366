"""Files that lie: ten thousand mutated weights, headers of a million tensors, and descriptions of impossible models.

Whatever is in a file, it is read as it says or refused with our own error, quickly and in little memory.
"""

import json
import random
import statistics
import struct
import time
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from seesay.base.errors import RefusedInput
from seesay.model.weights import HEADER_LIMIT, read_header, read_tensors, write_tensors
from seesay.nets.architecture import Architecture

MIB = 1 << 20
TENSORS = {
    **{f"block.{index}.weight": torch.full((8, 16), index + 0.5) for index in range(24)},
    "count": torch.tensor(7),
    "nothing": torch.empty(0, 4),
    "scale": torch.tensor(2.6593),
}
EXPECTED = {name: tensor.to("meta") for name, tensor in TENSORS.items()}


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def header_of(whole: bytes) -> tuple[dict, bytes]:
    length = struct.unpack("<Q", whole[:8])[0]
    return json.loads(whole[8 : 8 + length]), whole[8 + length :]


def with_header(header: object, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def change_bytes(whole: bytes, rng: random.Random) -> bytes:
    data = bytearray(whole)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(min(len(data), 2000) if rng.random() < 0.8 else len(data))
        if (kind := rng.randrange(4)) == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.choice(b'0123456789-.,:{}[]"eE\\\0\xff')
        elif kind == 2:
            del data[at : at + rng.randint(1, 64)]
        else:
            data[at:at] = rng.choice([b"9" * 30, b"[" * 200, b'"a":1,', b"\0" * 8, b"-", b"1e999", b"NaN", data[:90]])
    return bytes(data)


def change_length(whole: bytes, rng: random.Random) -> bytes:
    length = struct.unpack("<Q", whole[:8])[0]
    chosen = [0, 1, length - 1, length + 1, 1 << 31, 1 << 63, (1 << 64) - 1, len(whole) - 8, HEADER_LIMIT + 1]
    return struct.pack("<Q", rng.choice([*chosen, rng.randrange(1 << 64)])) + whole[8:]


def change_size(whole: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return whole[: len(whole) * rng.randrange(64) // 64]
    return whole + bytes(rng.randint(1, 99))


def change_entry(whole: bytes, rng: random.Random) -> bytes:
    header, data = header_of(whole)
    name = rng.choice(list(header))
    odd = [
        0,
        1,
        -1,
        8,
        2**31,
        2**63,
        2**64,
        10**30,
        1.5,
        True,
        None,
        "8",
        [],
        {},
        float("nan"),
        [8, 16],
        "F32",
        "😀" * 50,
    ]
    what = rng.choice(["shape", "dtype", "data_offsets", "one", "whole", "gone", "twice"])
    if what == "gone":
        del header[name]
    elif what == "twice":
        header[f"other.{name}"] = header[name]
    elif what == "whole":
        header[name] = rng.choice(odd)
    elif what == "one":
        place = rng.choice(["shape", "data_offsets"])
        header[name][place] = [rng.choice([number, rng.choice(odd)]) for number in header[name][place]] or [
            rng.choice(odd)
        ]
    else:
        header[name][what] = rng.choice(odd)
    return with_header(header, data)


def change_text(whole: bytes, rng: random.Random) -> bytes:
    _, data = header_of(whole)
    deep = rng.randint(10, 100_000)
    text = rng.choice(
        [
            b"[" * deep,
            b'{"a":' * deep,
            b'{"' + b"x" * deep + b'":1}',
            b'{"a":' + b"9" * deep + b"}",
            b'{"\xff\xfe":1}',
            b'{"a":1,"a":1}',
            b"null",
            b'""',
            b"{}" + b" " * deep,
            json.dumps({"__metadata__": {"a": "b" * deep}}).encode(),
        ]
    )
    return with_header(text, rng.choice([b"", data]))


def exchange(whole: bytes, rng: random.Random) -> bytes:
    """Two tensors that claim the same bytes, or each other's: holes and overlaps."""
    header, data = header_of(whole)
    one, other = rng.sample(list(header), 2)
    header[one]["data_offsets"] = list(header[other]["data_offsets"])
    return with_header(header, data)


CHANGES = [change_bytes, change_length, change_size, change_entry, change_text, exchange]


def attack(path: Path, *, seed: int, count: int) -> None:
    """`count` mutated files through both readers: our error or the right names and shapes, each within 50 ms."""
    rng, whole, taken, refused = random.Random(seed), write_tensors(TENSORS), [], 0
    before = resident()
    for index in range(count):
        data = CHANGES[index % len(CHANGES)](whole, rng)
        path.write_bytes(data)
        start = time.thread_time()
        try:
            for name, entry in read_header(path).items():
                assert isinstance(name, str) and entry.keys() >= {"shape", "dtype", "data_offsets"}
            found = read_tensors(path, EXPECTED)
        except RefusedInput as error:
            assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 4000
            refused += 1
        else:
            assert {name: tensor.shape for name, tensor in found.items()} == {
                name: tensor.shape for name, tensor in EXPECTED.items()
            }
            assert all(torch.isfinite(tensor).all() for tensor in found.values())
        taken.append(time.thread_time() - start)
    assert refused > 0.8 * count
    assert statistics.quantiles(taken, n=100)[98] <= 0.05
    assert resident() - before < 32 * MIB


@pytest.mark.journey
@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.journey)])
def test_mutated_files_are_refused_or_read_as_they_say(count: int, tmp_path: Path):
    attack(tmp_path / "w.safetensors", seed=0, count=count)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(1, 10))
def test_nine_thousand_more(seed: int, tmp_path: Path):
    attack(tmp_path / "w.safetensors", seed=seed, count=1000)


def bomb(count: int) -> bytes:
    entry = '"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    return with_header(("{" + ",".join(entry % index for index in range(count)) + "}").encode(), b"")


@pytest.mark.journey
@pytest.mark.parametrize("count", [4_000, 10_000, 100_000, 140_000, 1_000_000])
def test_a_header_of_very_many_tensors_is_refused_within_a_tenth_of_a_second(count: int, tmp_path: Path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(bomb(count))
    before, start = resident(), time.thread_time()
    with pytest.raises(RefusedInput, match=r"w\.safetensors"):
        read_tensors(path, EXPECTED)
    taken, grown = time.thread_time() - start, resident() - before
    assert taken <= 0.1, f"{taken:.3f} s"
    assert grown <= 30 * MIB, f"{grown / MIB:.0f} MiB"


def test_tensors_are_counted_before_they_are_parsed(tmp_path: Path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(bomb(3_001))
    with pytest.raises(RefusedInput, match=r"has 3,001 tensors, more than 3,000"):
        read_header(path)


def test_a_header_larger_than_the_limit_is_not_even_read(tmp_path: Path):
    path = tmp_path / "w.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 100 * MIB) + b"{")
        file.truncate(101 * MIB)
    before = resident()
    with pytest.raises(RefusedInput, match="no safetensors file"):
        read_header(path)
    assert resident() - before < MIB


HONEST = {
    "embed_dim": 512,
    "image": {"kind": "vit", "image_size": 224, "patch": 32, "width": 768, "layers": 12, "heads": 12},
    "text": {"kind": "transformer", "context": 77, "vocab_size": 49408, "width": 512, "layers": 12, "heads": 8},
}
LIES = [-1, 0, 1.5, 10**9, 2**40, 2**63, 10**400, True, None, "12", "1e9", [], [12], {}, float("inf"), float("nan")]


def lying(rng: random.Random) -> str:
    """An honest description with one number that is a lie, a field too much, one too few, or another kind."""
    config = json.loads(json.dumps(HONEST))
    tower = rng.choice(["image", "text"])
    check_finite = [name for name in config[tower] if name != "kind"]
    kind = rng.randrange(6)
    if kind == 0:
        config["embed_dim"] = rng.choice(LIES)
    elif kind == 1:
        del config[tower][rng.choice(check_finite)]
    elif kind == 2:
        config[tower][rng.choice(["auto_map", "trust_remote_code", "../../etc/passwd", "__class__"])] = "os.system"
    elif kind == 3:
        config[tower]["kind"] = rng.choice([None, "", "os.system", "transformer" if tower == "image" else "vit", 3])
    elif kind == 4:
        config[tower] = rng.choice(LIES)
    else:
        config[tower][rng.choice(check_finite)] = rng.choice(LIES)
    return json.dumps(config)


def test_a_thousand_lying_descriptions_are_refused_before_anything_is_made():
    assert Architecture.model_validate_json(json.dumps(HONEST)).embed_dim == 512
    rng = random.Random(0)
    before = resident()
    for _ in range(1000):
        text, start = lying(rng), time.thread_time()
        with pytest.raises(ValidationError):
            Architecture.model_validate_json(text)
        assert time.thread_time() - start < 0.05, text
    assert resident() - before < 8 * MIB

"""What a coded AV1 or HEVC image says of its own size, by which decoders allocate memory.

AV1: the bitstream specification of the Alliance for Open Media, sections 5.3, 5.5 and 5.9. HEVC: ITU-T H.265, 7.3.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from seesay.base.errors import BrokenSample
from seesay.data.decoding_limits import MAX_CHUNKS, TOO_COMPLEX

# Types of units, by the two specifications.
SEQUENCE_HEADER, FRAME_HEADERS = 1, (3, 6)
SEQUENCE_PARAMETERS, LAST_SLICE = 33, 31
# Samples of all planes for a pixel, by H.265's chroma_format_idc: grey, 4:2:0, 4:2:2, 4:4:4.
_PLANES = (1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class CodedSize:
    """Sides that one header says, the samples of a pixel and whether they have more than 8 bits."""

    width: int
    height: int
    planes: float = 3.0
    is_deep: bool = True


class Bits:
    """Bits of a header from the first on; `IndexError` where they end."""

    def __init__(self, data: bytes):
        self.data = data
        self.position = 0

    def take(self, count: int) -> int:
        """The next bits as a number."""
        first, last = self.position >> 3, self.position + count + 7 >> 3
        if last > len(self.data):
            raise IndexError("a header is cut off")
        self.position += count
        value = int.from_bytes(self.data[first:last])
        return value >> (8 * last - self.position) & (1 << count) - 1

    def flag(self) -> bool:
        """The next bit."""
        return bool(self.take(1))

    def golomb(self) -> int:
        """A number of unknown length (H.265, 9.2; AV1's uvlc)."""
        zeros = 0
        while not self.flag():
            zeros += 1
            if zeros > 32:
                raise IndexError("a number of more than 32 bits")
        return (1 << zeros) - 1 + self.take(zeros)


@dataclass(frozen=True)
class _Sequence:
    """What an AV1 sequence header says that one of a frame is read with."""

    size: CodedSize
    is_reduced: bool
    time_bits: int
    id_bits: int
    screen_content: int
    integer_vectors: int


def av1_sizes(data: bytes) -> tuple[list[CodedSize], int]:
    """The sizes in every sequence header, and the number of frames.

    `BrokenSample` where a frame has another size than its sequence says: no encoder of images writes it.
    """
    sizes, frames, sequence = [], 0, None
    for kind, body in _open_bitstream_units(data):
        if kind == SEQUENCE_HEADER:
            sequence = _sequence(Bits(body))
            sizes.append(sequence.size)
        elif kind in FRAME_HEADERS:
            frames += 1
            if sequence and not sequence.is_reduced and _has_own_size(Bits(body[:32]), sequence):
                raise BrokenSample(TOO_COMPLEX, "an AVIF with a frame of another size than its sequence")
    return sizes, frames


def _open_bitstream_units(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    for _ in range(MAX_CHUNKS):
        if position >= len(data):
            return
        header = data[position]
        position += 2 if header & 4 else 1
        length = len(data) - position
        if header & 2:
            length, shift = 0, 0
            while shift < 56:
                byte = data[position]
                position += 1
                length |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
        yield header >> 3 & 15, data[position : position + min(length, 256)]
        position += length
    raise BrokenSample(TOO_COMPLEX, f"more than {MAX_CHUNKS:,} units in an AVIF")


def _sequence(bits: Bits) -> _Sequence:
    bits.take(4)
    is_reduced = bits.flag()
    time_bits = bits.take(5) * 0 if is_reduced else _operating_points(bits)
    across, down = bits.take(4) + 1, bits.take(4) + 1
    size = CodedSize(bits.take(across) + 1, bits.take(down) + 1)
    if is_reduced:
        return _Sequence(size, True, 0, 0, 0, 0)
    id_bits = bits.take(4) + bits.take(3) + 3 if bits.flag() else 0
    bits.take(7)
    has_order = bits.flag()
    bits.take(2 if has_order else 0)
    screen_content = 2 if bits.flag() else bits.take(1)
    integer_vectors = 2 if not screen_content or bits.flag() else bits.take(1)
    return _Sequence(size, False, time_bits, id_bits, screen_content, integer_vectors)


def _operating_points(bits: Bits) -> int:
    """Skips timing and operating points; the bits of the time in every frame, 0 where there is none."""
    has_model, delay_bits, time_bits = False, 0, 0
    if bits.flag():
        bits.take(64)
        is_equal = bits.flag()
        if is_equal:
            bits.golomb()
        has_model = bits.flag()
        if has_model:
            delay_bits = bits.take(5) + 1
            bits.take(37)
            written = bits.take(5) + 1
            time_bits = 0 if is_equal else written
    has_delay = bits.flag()
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if has_model and bits.flag():
            bits.take(2 * delay_bits + 1)
        if has_delay and bits.flag():
            bits.take(4)
    return time_bits


def _has_own_size(bits: Bits, sequence: _Sequence) -> bool:
    """Whether the frame says that its size is not the sequence's."""
    if bits.flag():
        # One that was decoded before is shown.
        return False
    kind, is_shown = bits.take(2), bits.flag()
    bits.take(sequence.time_bits if is_shown else 1)
    if kind == 3:
        return True
    if not (kind == 0 and is_shown):
        bits.take(1)
    bits.take(1)
    screen_content = bits.flag() if sequence.screen_content == 2 else bool(sequence.screen_content)
    if screen_content and sequence.integer_vectors == 2:
        bits.take(1)
    bits.take(sequence.id_bits)
    return bits.flag()


def hevc_sizes(configuration: bytes) -> tuple[list[CodedSize], int]:
    """The sizes in an `hvcC` box, and the bytes that say the length of each unit of the images it is for."""
    sizes, position = [], 23
    for _ in range(configuration[22]):
        count = int.from_bytes(configuration[position + 1 : position + 3])
        position += 3
        for _ in range(count):
            length = int.from_bytes(configuration[position : position + 2])
            sizes += _parameters(configuration[position + 2 : position + 2 + length])
            position += 2 + length
    return sizes, (configuration[21] & 3) + 1


def hevc_units(data: bytes, length_bytes: int) -> tuple[list[CodedSize], int]:
    """The sizes inside a coded image itself, where few encoders write them, and how many images it is."""
    sizes, images, position = [], 0, 0
    for _ in range(MAX_CHUNKS):
        if position + length_bytes + 2 >= len(data):
            return sizes, images
        length = int.from_bytes(data[position : position + length_bytes])
        position += length_bytes
        sizes += _parameters(data[position : position + min(length, 4096)])
        images += data[position] >> 1 & 63 <= LAST_SLICE and data[position + 2] >> 7
        position += length
    raise BrokenSample(TOO_COMPLEX, f"more than {MAX_CHUNKS:,} units in a HEIC")


def _parameters(unit: bytes) -> list[CodedSize]:
    """The size in a unit, if it is a set of sequence parameters."""
    if len(unit) < 2 or unit[0] >> 1 & 63 != SEQUENCE_PARAMETERS:
        return []
    bits = Bits(unit[2:4096].replace(b"\0\0\3", b"\0\0"))
    bits.take(4)
    layers = bits.take(3)
    bits.take(1 + 96)
    has_profile_level = [(bits.flag(), bits.flag()) for _ in range(8 if layers else 0)][:layers]
    for has_profile, has_level in has_profile_level:
        bits.take(88 * has_profile + 8 * has_level)
    bits.golomb()
    chroma = bits.golomb()
    if chroma == 3:
        bits.take(1)
    width, height = bits.golomb(), bits.golomb()
    if bits.flag():
        for _ in range(4):
            bits.golomb()
    is_deep = bits.golomb() > 0 or bits.golomb() > 0
    return [CodedSize(width, height, _PLANES[chroma], is_deep)]

"""The members of a tar of strangers: where each lies, one after the other, with nothing of the tar held in memory.

Python's own reader takes extended headers of any size into memory whole, follows chains of them by recursion, and holds
every header that it has seen. This one reads what says where files lie, and no more.
"""

import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

# The block of a tar, the length of its fields, and the letters of its types (POSIX 1003.1, "ustar interchange format"
# and "pax interchange format"; GNU tar's manual, "Basic Tar Format").
BLOCK = 512
_ZEROS = bytes(BLOCK)
_FILE, _OLD_FILE, _FOLDER = b"0", b"\0", b"5"
_LONG_NAME, _LONG_LINK, _SPARSE = b"L", b"K", b"S"
_EXTENDED, _EXTENDED_SOLARIS, _GLOBAL = b"x", b"X", b"g"
# Links, devices, folders and pipes have no bytes behind the header, whatever size it says.
_WITHOUT_DATA = frozenset((b"1", b"2", b"3", b"4", b"5", b"6"))
_NAMES = frozenset((_LONG_NAME, _EXTENDED, _EXTENDED_SOLARIS))
_BETWEEN = _NAMES | {_LONG_LINK, _GLOBAL}
# Guesses: bytes of an extended header, of which a path can be 4,096; and how many of them may come before one member.
EXTENDED_LIMIT = 1 << 16
MOST_EXTENDED = 16


class Member(NamedTuple):
    """A file or folder, or what is `refused` and why; `header`, `start` of its data and `end` of all are positions."""

    name: str
    size: int
    header: int
    start: int
    end: int
    is_file: bool
    refused: str = ""


class _Header(NamedTuple):
    name: str
    kind: bytes
    size: int


def tar_members(file: BinaryIO) -> Iterator[Member]:
    """The members in the order in which they lie, until a block of zeros or the end of the file.

    An extended header beyond `EXTENDED_LIMIT` is a refused member of its own, and the next member has the name that its
    own header gives. `ValueError` where a header is damaged, with nothing lost of what came before.
    """
    first = 0
    while (header := _header(file, first)) is not None:
        position, before = first, dict[str, str]()
        for _ in range(MOST_EXTENDED):
            if header.kind not in _BETWEEN:
                break
            start, position = position + BLOCK, position + BLOCK + _padded(header.size)
            if header.kind in _NAMES and header.size > EXTENDED_LIMIT:
                reason = f"an extended header of {header.size:,} bytes"
                yield Member(header.name, header.size, first, start, position, is_file=False, refused=reason)
                first = position
            elif header.kind in _NAMES:
                before |= _extended(file, start, header)
            if (following := _header(file, position)) is None:
                raise ValueError("the tar ends behind an extended header")
            header = following
        else:
            raise ValueError(f"more than {MOST_EXTENDED} extended headers before one member")
        member = _member(file, header, before, first=first, position=position)
        yield member
        first = member.end


def _member(file: BinaryIO, header: _Header, before: dict[str, str], *, first: int, position: int) -> Member:
    """The member whose own header is at `position`, with what the extended headers before it say."""
    name, size, kind = before.get("path", header.name), header.size, header.kind
    if "size" in before:
        # As other readers have it: what is no number is nothing.
        size = _possible(int(before["size"])) if before["size"].isascii() and before["size"].isdigit() else 0
    start = position + BLOCK
    if kind == _SPARSE:
        start = _behind_sparse_maps(file, position)
    end = start if kind in _WITHOUT_DATA else start + _padded(size)
    is_folder = kind == _FOLDER or (kind == _OLD_FILE and name.endswith("/"))
    refused = ""
    if kind not in (_FILE, _OLD_FILE, _FOLDER) or any(key.startswith("GNU.sparse.") for key in before):
        refused = "a link, device or sparse file"
    elif name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
        refused = "its name leads out of the archive"
    return Member(name, size, first, start, end, is_file=not is_folder and not refused, refused=refused)


def _header(file: BinaryIO, position: int) -> _Header | None:
    """The header at a position; None for a block of zeros or the end of the file, `ValueError` for a damaged one."""
    file.seek(position)
    block = file.read(BLOCK)
    if not block or block == _ZEROS:
        return None
    if len(block) < BLOCK:
        raise ValueError("truncated header")
    written = block[148:156]
    # The sum of all bytes, with spaces for the eight of the sum; Adler-32 holds 1 + that sum, modulo 65521.
    checksum = (zlib.adler32(block) & 0xFFFF) - 1 - sum(written) + 8 * ord(" ")
    if ((found := _number(written)) - checksum) % 65521 and found != _signed_sum(block):
        raise ValueError("bad checksum")
    size = _possible(_number(block[124:136]))
    name, kind = _text(block[:100]), block[156:157]
    if block[345] and kind not in (_LONG_NAME, _LONG_LINK, _SPARSE):
        name = f"{_text(block[345:500])}/{name}"
    return _Header(name, kind, size)


def _possible(size: int) -> int:
    # Positions in files have 63 bits.
    if not 0 <= size < 1 << 60:
        raise ValueError(f"a size of {size:,} bytes" if abs(size) < 1 << 90 else "a size beyond all files")
    return size


def _signed_sum(block: bytes) -> int:
    """The checksum of writers that take bytes for signed."""
    return 256 + sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:])


def _number(field: bytes) -> int:
    """Octal digits, or, where the first bit is set, the whole field as one number."""
    if field[:-1].isdigit() and field[-1] in b"\0 ":
        return int(field[:-1], 8)
    if field[0] in (0o200, 0o377):
        return int.from_bytes(field[1:], "big") - (256 ** (len(field) - 1) if field[0] == 0o377 else 0)
    return int(field.partition(b"\0")[0].strip() or b"0", 8)


def _extended(file: BinaryIO, start: int, header: _Header) -> dict[str, str]:
    """What an extended header says of the member behind it: keyword -> value, the name as "path"."""
    file.seek(start)
    data = file.read(header.size)
    if header.kind == _LONG_NAME:
        return {"path": _text(data)}
    values, position = {}, 0
    # Records of "LENGTH KEYWORD=VALUE\n", where the length is that of the whole record.
    while position < len(data):
        length, _, _ = data[position : position + 20].partition(b" ")
        if not length.isdigit() or not len(length) < int(length) <= len(data) - position:
            break
        keyword, _, value = data[position + len(length) + 1 : position + int(length) - 1].partition(b"=")
        values[_text(keyword)] = _text(value)
        position += int(length)
    if "path" in values:
        values["path"] = values["path"].rstrip("/")
    return values


def _behind_sparse_maps(file: BinaryIO, position: int) -> int:
    """Where the data of GNU's sparse file begins: behind the blocks that go on with the map of its header."""
    file.seek(position + 482)
    more, start = file.read(1), position + BLOCK
    while more not in (b"", b"\0"):
        file.seek(start + 504)
        more, start = file.read(1), start + BLOCK
    return start


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")

"""Thrift's compact protocol, in which Parquet writes its headers: structs by field number, as far as they are wanted.

The layout is that of thrift-compact-protocol.md. Nothing is made of what is not wanted, and of the rest not too much.
"""

from collections.abc import Mapping
from typing import Any

# Of a struct by field number: a number or bytes (None), a struct (what is wanted of it), or a list of one of these.
Wanted = Mapping[int, "Wanted | list | None"]

# The kinds of values with a fixed width and it in bytes: true, false, byte, double.
_WIDTHS = {1: 0, 2: 0, 3: 1, 7: 8}
_WHOLE_NUMBERS = (4, 5, 6)
_BINARY, _LIST, _SET, _STRUCT = 8, 9, 10, 12
# Guesses: structs in structs, of which Parquet has 5 at most, and structs and elements of lists that are made.
DEPTH_LIMIT = 12
VALUES_LIMIT = 1 << 19


class ThriftReader:
    """Reads structs from bytes.

    `IndexError` where these end before, `ValueError` for what no writer of Parquet writes.
    """

    def __init__(self, data: bytes):
        self._data = data
        self.position = 0
        self._made = 0

    def struct(self, wanted: Wanted, *, depth: int = 0) -> dict[int, Any]:
        """The wanted fields of the struct at the position, which moves behind it."""
        self._made += 1
        if depth > DEPTH_LIMIT or self._made > VALUES_LIMIT:
            raise ValueError("structs in structs, or too many")
        fields: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            if number in wanted:
                fields[number] = self._value(head & 15, wanted[number], depth=depth)
            else:
                self._skip(head & 15, depth=depth)
        return fields

    def _value(self, kind: int, wanted: Wanted | list | None, *, depth: int) -> Any:
        if wanted is None and kind in _WHOLE_NUMBERS:
            return self._zigzag()
        if wanted is None and kind == _BINARY:
            length = self._varint()
            self._pass(length)
            return self._data[self.position - length : self.position]
        if isinstance(wanted, Mapping) and kind == _STRUCT:
            return self.struct(wanted, depth=depth + 1)
        if isinstance(wanted, list) and kind == _LIST:
            element, count = self._list_head()
            self._made += count
            if self._made > VALUES_LIMIT:
                raise ValueError("too many values")
            return [self._value(element, wanted[0], depth=depth) for _ in range(count)]
        raise ValueError("a field of another kind than it has")

    def _skip(self, kind: int, *, depth: int) -> None:
        if depth > DEPTH_LIMIT:
            raise ValueError("structs in structs")
        if kind in _WIDTHS:
            self._pass(_WIDTHS[kind])
        elif kind in _WHOLE_NUMBERS:
            self._varint()
        elif kind == _BINARY:
            self._pass(self._varint())
        elif kind == _STRUCT:
            while (head := self._byte()) != 0:
                if not head >> 4:
                    self._zigzag()
                self._skip(head & 15, depth=depth + 1)
        elif kind in (_LIST, _SET):
            element, count = self._list_head()
            for _ in range(count):
                # In a list also true and false have a byte.
                self._skip(3 if element in (1, 2) else element, depth=depth + 1)
        else:
            raise ValueError("a kind that Parquet does not have")

    def _list_head(self) -> tuple[int, int]:
        """The kind of the elements and their number, each of which has one byte at least."""
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        if count > len(self._data) - self.position:
            raise IndexError("a list goes on behind the data")
        return head & 15, count

    def _byte(self) -> int:
        self.position += 1
        return self._data[self.position - 1]

    def _pass(self, count: int) -> None:
        self.position += count
        if self.position > len(self._data):
            raise IndexError("a value goes on behind the data")

    def _zigzag(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def _varint(self) -> int:
        number = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
        raise ValueError("a number of more than 64 bits")

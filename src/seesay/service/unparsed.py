"""Where a request ends whose answer does not depend on what it says, found without parsing it as HTTP.

Only requests of one plain form are looked at, in which no two readers could see another end (RFC 9112, 6 and 11.2).
"""

import re

# Method, target and version, and headers of one line each, whose ends are all CR LF.
_HEAD = re.compile(rb"POST [!-~]+ HTTP/1\.1\r\n(?:[!#-'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)+\r\n")
# What says where a request ends, and what becomes of its connection.
_FRAMING = re.compile(rb"\r\n(content-length|transfer-encoding|connection|expect|upgrade):[\t ]*([^\r]*)")
_LENGTH = re.compile(rb"[0-9]{1,15}")


def length_of(data: bytes, start: int, *, most: int, may_close: bool = False) -> int | None:
    """Bytes of the POST that begins at `start`, with its body, also where that is still to come.

    None where its head is not whole, is longer than `most`, or has anything that needs to be parsed, as what its
    connection becomes; `may_close` says that this one may be the last of its connection.
    """
    head = _HEAD.match(data, start, start + most)
    if head is None:
        return None
    found = _FRAMING.findall(head[0].lower())
    framing = {name: value.rstrip(b"\t ") for name, value in found}
    length = framing.pop(b"content-length", b"0")
    connection = framing.pop(b"connection", b"keep-alive")
    is_plain = connection == b"keep-alive" or (may_close and connection == b"close")
    if len(dict(found)) < len(found) or framing or not is_plain or not _LENGTH.fullmatch(length):
        return None
    return len(head[0]) + int(length)

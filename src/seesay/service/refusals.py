"""What a caller is answered where it gets nothing else: a status, and one line of JSON.

The line tells no path of this machine and no version; the shape is that of OpenAI's service, whose clients read it.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus

from seesay.base.errors import BrokenSample, RefusedInput, SeesayError, StorageError, UsageError
from seesay.base.printable import printable
from seesay.base.streams import say

# Seconds after which a caller may come again: a guess, some batches.
RETRY_SECONDS = 1
BUSY = {"retry-after": str(RETRY_SECONDS)}


class Refusal(Exception):
    """A request that is not answered, with the status and the line that its caller gets."""

    def __init__(self, status: int, message: str, *, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status = status
        self.headers = {"content-type": "application/json", **(headers or {})}

    @classmethod
    def busy(cls, message: str) -> "Refusal":
        """503 with the time after which to come again."""
        return cls(503, message, headers=BUSY)

    @classmethod
    def of(cls, error: SeesayError) -> "Refusal":
        """An error in what the caller sent: an image that cannot be read, or words that cannot be answered.

        A file of ours that is damaged, or a disk that fails, is a line of the log, and 503 for the caller.
        """
        if isinstance(error, BrokenSample):
            return cls(422, f"the image cannot be read: {error}")
        if isinstance(error, UsageError):
            return cls(400, str(error))
        if isinstance(error, RefusedInput | StorageError):
            say(f"error: {printable(str(error))}")
            return cls.busy("what is served cannot be read; the log of the service says why.")
        raise error

    def body(self, request_id: str) -> bytes:
        """The line, with the number by which the log of the service has this request."""
        kind = "_".join(HTTPStatus(self.status).phrase.lower().replace("-", " ").split())
        values = {"message": printable(str(self)), "type": kind, "param": None, "code": None, "request_id": request_id}
        return json.dumps({"error": values}).encode() + b"\n"

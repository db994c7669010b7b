"""Messages over a socket: a length of four bytes, then JSON."""

from __future__ import annotations

import json
import os
from typing import Any

_read, _dumps = os.read, json.dumps  # a program may replace the names


def read_frame(fd: int, limit: int = 1 << 30) -> bytes:
    """The next message.

    Raises:
        EOFError: the other side has hung up.
        ValueError: it is longer than the limit.
    """
    size = int.from_bytes(_read_exactly(fd, 4), "big")
    if size > limit:
        raise ValueError(f"a message of {size} bytes, at most {limit}")
    return _read_exactly(fd, size)


def frame(message: Any) -> bytes:
    """A message for `read_frame`."""
    body = _dumps(message).encode()
    return len(body).to_bytes(4, "big") + body


def _read_exactly(fd: int, size: int) -> bytes:
    parts = []
    while size:
        part = _read(fd, min(size, 1 << 20))
        if not part:
            raise EOFError("the other side has hung up")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)

"""`FrameBufferClient`, a program's access to a ring, and `read_frame`, for messages that carry the key."""

import os
from collections.abc import Mapping
from typing import Any

from framebuffer._native import FrameBufferClient
from framebuffer.errors import FrameBufferError, FrameBufferTimeout

__all__ = ["FrameBufferClient", "FrameBufferTimeout", "read_frame"]


def read_frame(message: Mapping[str, Any]) -> bytes:
    """Reads the frame that a message describes. Keeps one client for each key.

    Any number of threads may call it at once, forked children, signal handlers and `__del__` too. If another ring has
    replaced the key's ring, it opens the new one.

    Args:
        message: A mapping with `key`, `offset`, `size`, `checksum` and perhaps `ring`; other fields are ignored.

    Raises:
        FrameBufferTimeout: If the frame is not there, or no longer.
        FrameBufferOtherRing: If the frame is of another ring than the one that has the key now.
        FrameBufferNotFound: If no ring has this key.
    """
    key = message["key"]
    cached = _cached(key)
    try:
        return cached.client.read(message)
    except FrameBufferError:
        # In this ring, a frame of the ring that replaced it was never allocated, or is another frame.
        if cached.is_current():
            raise
    _forget(key, cached)
    return _cached(key).client.read(message)


class _Cached:
    """An open client, and the identity of its ring's file."""

    def __init__(self, key: str) -> None:
        self.path = os.path.join(os.environ.get("FRAMEBUFFER_DIR") or "/dev/shm", f"framebuffer-{key}")
        while True:
            self.file = _identity(self.path)
            self.client = FrameBufferClient(key)
            self.client.start()
            if self.is_current():
                return
            self.client.stop()

    def is_current(self) -> bool:
        return self.file is not None and self.file == _identity(self.path)


# Without a lock: a signal handler or a `__del__` that comes while its own thread has it would wait for itself. Each
# step is one operation on the dictionary, which no other thread and no handler can divide.
_clients: dict[str, _Cached] = {}


def _cached(key: str) -> _Cached:
    cached = _clients.get(key)
    if cached is not None:
        return cached
    # A removed ring stays in memory while a client has it open.
    for other in list(_clients):
        client = _clients.get(other)
        if client is not None and not client.is_current():
            _forget(other, client)
    # Another thread or a handler may have been faster: its client stays, and this one is closed.
    return _clients.setdefault(key, _Cached(key))


def _forget(key: str, cached: _Cached) -> None:
    # In between another may come to be the one that is forgotten: it is opened again when it is needed.
    if _clients.get(key) is cached:
        _clients.pop(key, None)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _restore(key: str | None, directory: str | None, started: bool) -> FrameBufferClient:
    """Makes a client from its pickle."""
    client = FrameBufferClient(key, dir=directory)
    if started:
        client.start()
    return client

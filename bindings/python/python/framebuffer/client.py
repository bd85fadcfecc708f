"""`FrameBufferClient`, a program's access to a ring, and `read_frame`, for messages that carry the key."""

import os
import threading
from collections.abc import Mapping
from typing import Any

from framebuffer._native import FrameBufferClient
from framebuffer.errors import FrameBufferError, FrameBufferTimeout

__all__ = ["FrameBufferClient", "FrameBufferTimeout", "read_frame"]


def read_frame(message: Mapping[str, Any]) -> bytes:
    """Reads the frame that a message describes. Keeps one client for each key.

    Any number of threads may call it at once, forked children too. If another ring has replaced the key's ring, it
    opens the new one.

    Args:
        message: A mapping with `key`, `offset`, `size` and `checksum`; other fields are ignored.

    Raises:
        FrameBufferTimeout: If the frame is not there, or no longer.
        FrameBufferNotFound: If no ring has this key.
    """
    key = message["key"]
    cached = _cached(key)
    try:
        return cached.client.read(message)
    except (FrameBufferError, ValueError):
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


_clients: dict[str, _Cached] = {}
_lock = threading.Lock()


def _cached(key: str) -> _Cached:
    with _lock:
        cached = _clients.get(key)
        if cached is None:
            # A removed ring stays in memory while a client has it open.
            for other in [other for other, client in _clients.items() if not client.is_current()]:
                del _clients[other]
            cached = _clients[key] = _Cached(key)
        return cached


def _forget(key: str, cached: _Cached) -> None:
    with _lock:
        if _clients.get(key) is cached:
            del _clients[key]


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _new_lock() -> None:
    # A thread that does not exist in the child may have had it locked.
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_new_lock)


def _restore(key: str | None, directory: str | None, started: bool) -> FrameBufferClient:
    """Makes a client from its pickle."""
    client = FrameBufferClient(key, dir=directory)
    if started:
        client.start()
    return client

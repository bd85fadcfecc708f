"""What can go wrong.

Wrong arguments are a `ValueError` or `TypeError`, wrong buffers a `BufferError`; all else is here.
"""


class FrameBufferError(Exception):
    """Something about a ring failed. The message says what, never with the key."""


class FrameBufferTimeout(FrameBufferError, TimeoutError):  # noqa: N818 - what programs know it by
    """The bytes that were promised are not there: the ring has moved on, or they were never written.

    Expected in normal operation when a reader is slow.

    Attributes:
        offset: The frame's stream offset.
        reason: `"overwritten"`, `"not_written"` or `"mismatch"` (another size or checksum).
    """

    def __init__(self, message: str = "", offset: int | None = None, reason: str | None = None) -> None:
        super().__init__(message)
        self.offset = offset
        self.reason = reason


class FrameBufferExhausted(FrameBufferError):  # noqa: N818 - as FrameBufferTimeout
    """Views, loans and operations under way hold so much of the ring that there is no room for the frame."""


class FrameBufferNotFound(FrameBufferError, FileNotFoundError):  # noqa: N818 - as FrameBufferTimeout
    """There is no ring with this key: its server does not run, or uses another folder."""


class FrameBufferConnectError(FrameBufferError, ConnectionError):
    """No sidecar could be reached, or its ring could not be opened."""

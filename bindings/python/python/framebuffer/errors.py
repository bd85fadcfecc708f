"""The exceptions.

A wrong argument is a `ValueError` or `TypeError`, a wrong buffer a `BufferError`; everything else is here.
"""


class FrameBufferError(Exception):
    """An operation on a ring failed. The message says why, and never contains the key."""


class FrameBufferTimeout(FrameBufferError, TimeoutError):  # noqa: N818 - the name that programs know
    """The frame is not there, or no longer: the ring has moved on, or the frame was never written.

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
    """Views, loans and operations in progress pin so much of the ring that the frame does not fit."""


class FrameBufferNotFound(FrameBufferError, FileNotFoundError):  # noqa: N818 - as FrameBufferTimeout
    """No ring has this key: its server is not running, or uses another folder."""


class FrameBufferConnectError(FrameBufferError, ConnectionError):
    """No sidecar can be reached, or its ring cannot be opened."""

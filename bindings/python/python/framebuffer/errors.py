"""The exceptions.

A wrong argument is a `ValueError` or `TypeError`, a wrong buffer a `BufferError`; everything else is here, also a
description that fits no frame of the ring: it may be of a ring that is no more.
"""


class FrameBufferError(Exception):
    """An operation on a ring failed. The message says why, and never contains the key."""


class FrameBufferTimeout(FrameBufferError, TimeoutError):  # noqa: N818 - the name that programs know
    """The frame is not there, or no longer: the ring has moved on, or the frame was never written.

    Expected in normal operation when a reader is slow.

    Attributes:
        offset: The frame's stream offset.
        reason: `"overwritten"`, `"not_written"` or `"mismatch"` (another size or checksum, or a view that has lost its
            protection).
    """

    def __init__(self, message: str = "", offset: int | None = None, reason: str | None = None) -> None:
        super().__init__(message)
        self.offset = offset
        self.reason = reason


class FrameBufferExhausted(FrameBufferError):  # noqa: N818 - as FrameBufferTimeout
    """Views, loans and operations in progress hold too much of the ring: release some.

    They pin so much of it that the frame does not fit; or this client has so many of them that there is no participant
    slot for more.

    Attributes:
        size: The frame's size in bytes; `None` if slots are lacking.
        largest_free: The size in bytes of the largest frame that would have fitted; `None` if slots are lacking.
    """

    def __init__(self, message: str = "", size: int | None = None, largest_free: int | None = None) -> None:
        super().__init__(message)
        self.size = size
        self.largest_free = largest_free


class FrameBufferBacklog(FrameBufferError, TimeoutError):  # noqa: N818 - as FrameBufferTimeout
    """A lossless subscriber has yet to receive a frame that the publisher would no longer keep: nothing was sent.

    Attributes:
        channel: The channel's name.
        number: The number that the frame would have had.
        unread: The number of the first frame that the subscriber has not received.
        participant: The subscriber, by its slot: see `FrameBufferClient.channels`.
    """

    def __init__(
        self,
        message: str = "",
        channel: str | None = None,
        number: int | None = None,
        unread: int | None = None,
        participant: int | None = None,
    ) -> None:
        super().__init__(message)
        self.channel = channel
        self.number = number
        self.unread = unread
        self.participant = participant


class FrameBufferRetired(FrameBufferError):  # noqa: N818 - as FrameBufferTimeout
    """The ring was given up: its owner has stopped, or another ring has taken its place.

    Open it anew: `stop()` and `start()`. A client from `connect()` finds the next ring by itself, and raises this only
    while there is none.
    """


class FrameBufferOtherRing(FrameBufferError):  # noqa: N818 - as FrameBufferTimeout
    """The frame is of another ring than the one that is open: one has replaced the other.

    If the open one is the newer, the frame is gone, as after a `FrameBufferTimeout`; otherwise open the ring anew.
    """


class FrameBufferNotFound(FrameBufferError, FileNotFoundError):  # noqa: N818 - as FrameBufferTimeout
    """No ring has this key: its server is not running, or uses another folder."""


class FrameBufferConnectError(FrameBufferError, ConnectionError):
    """No sidecar can be reached, or its ring cannot be opened."""
